"""Types of the lines of runs.jsonl and responses.jsonl, which accompany the summary of a steering."""

from typing import NotRequired, cast

from typing_extensions import TypedDict

from terms.documents.judge import RawScore
from terms.documents.steering import Dose, PushEffect, Scores


class RunVector(TypedDict):
    """The vector of a run; `layer` is None for several layers."""

    name: str
    method: str
    layer: int | None
    layers: list[int]
    component: str
    position: str | None
    ids: list[str | None]


class RunLine(Scores, Dose):
    """A line of runs.jsonl."""

    roles: list[str]
    set: str
    label: str
    vector: RunVector | None
    effect: PushEffect
    tokens: int


class ScoredText(TypedDict):
    """A scored answer; `raw` is the judge's raw output."""

    text: str
    trait: float | None
    coherence: float | None
    relevance: float | None
    raw: RawScore
    ended: bool
    finite: bool


class ShownLine(ScoredText):
    """A line of responses.jsonl without token ids, for readers."""

    run: str
    set: str
    question: str
    system_prompt: str | None
    cluster: str


class AnswerLine(ShownLine):
    """A whole line of responses.jsonl, with token ids."""

    ids: list[int]
    prompt_ids: list[int]
    expected: NotRequired[str]


def without_ids(line: AnswerLine) -> ShownLine:
    """Returns a line of responses.jsonl without its token ids."""
    return cast(ShownLine, {name: value for name, value in line.items() if not name.endswith("ids")})
