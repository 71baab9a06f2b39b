"""Types of tables.json in a study's report, of the report job's result, and of the nodes in a study's row."""

from typing import NotRequired, final

from typing_extensions import TypedDict

from terms.specs import Node, StudySpec
from terms.values import JsonObject


class StudyNode(Node):
    """A job of a study's graph, as stored in the study's row. `reused`: the job existed before the study."""

    reused: bool


class Finding(TypedDict):
    """The recommendation for a model, and the numbers behind it."""

    model: str
    sentence: str
    because: str


class Missing(TypedDict):
    """A job of the study without a result."""

    node: str
    kind: str
    state: str
    reason: str


class ColumnDocument(TypedDict):
    """A column of a table: its key in the rows, its title, and its kind, one of those of `workers.reports.table.Column`."""

    key: str
    title: str
    kind: str


class TableDocument(TypedDict):
    """A table. A row has values for some of the columns, by key, with `KEY_low`, `KEY_high` and `KEY_from` in addition: the
    limits of an interval, and the address of the texts from which the value was computed."""

    id: str
    title: str
    note: str
    columns: list[ColumnDocument]
    rows: list[JsonObject]


@final
class PlotDocument(TypedDict):
    """A plot; `plot` is a Vega-Lite specification."""

    title: str
    note: str
    plot: JsonObject


class TablesDocument(TypedDict):
    """The whole tables.json. `study` is the request with its defaults."""

    schema_version: int
    title: str
    study: StudySpec
    facts: dict[str, str]
    recommendations: list[Finding]
    missing: list[Missing]
    tables: list[TableDocument]
    plots: list[PlotDocument]


class StudySummary(TypedDict):
    """The result of a study; the service adds the `id`."""

    id: NotRequired[str]
    partial: bool
    missing: list[Missing]
    recommendations: list[Finding]


class StudyResult(TypedDict):
    """The report job's stored result."""

    study: StudySummary
