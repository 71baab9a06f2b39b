"""tables.json of a study's report, and what the report's job keeps."""

from typing import final

from typing_extensions import TypedDict

from terms.specs import Node, StudySpec
from terms.values import JsonObject


class StudyNode(Node):
    """A job of a study's graph as the study's row holds it. `reused`: it was there before the study."""

    reused: bool


class Finding(TypedDict):
    """What is recommended for a model, and the numbers behind it."""

    model: str
    sentence: str
    because: str


class Missing(TypedDict):
    """A job of the study that left no result."""

    node: str
    kind: str
    state: str
    reason: str


class ColumnDocument(TypedDict):
    key: str
    title: str
    kind: str


class TableDocument(TypedDict):
    """A row has a value for some of the columns, by key, and beside it `KEY_low`, `KEY_high` and `KEY_from`."""

    id: str
    title: str
    note: str
    columns: list[ColumnDocument]
    rows: list[JsonObject]


@final
class PlotDocument(TypedDict):
    """`plot` is a Vega-Lite specification."""

    title: str
    note: str
    plot: JsonObject


class TablesDocument(TypedDict):
    """The whole file. `study` is the request with its defaults."""

    schema_version: int
    title: str
    study: StudySpec
    facts: dict[str, str]
    recommendations: list[Finding]
    missing: list[Missing]
    tables: list[TableDocument]
    plots: list[PlotDocument]


class StudySummary(TypedDict):
    partial: bool
    missing: list[Missing]
    recommendations: list[Finding]


class StudyResult(TypedDict):
    """What the report's job keeps."""

    study: StudySummary
