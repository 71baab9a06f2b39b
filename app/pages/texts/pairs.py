"""Pairs steered answers with the unsteered answers to the same questions, in the requested order. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.pages.texts.differences import marked, shown
from app.pages.texts.judged import reply, scores, unsure
from terms.documents.runs import ShownLine

Line = ShownLine


@dataclass(frozen=True)
class Side:
    """An answer as the page shows it."""

    text: Markup
    scores: str
    reply: str
    note: str


@dataclass(frozen=True)
class Pair:
    """A question with its answers: unsteered on the left, steered on the right."""

    question: str
    system_prompt: str | None
    left: Side | None
    right: Side
    change: float | None


@dataclass(frozen=True)
class Both:
    """The stored lines of one question."""

    left: Line | None
    right: Line

    @property
    def change(self) -> float | None:
        """Returns the change of the trait score by steering."""
        before = None if self.left is None else self.left["trait"]
        return None if before is None or self.right["trait"] is None else float(self.right["trait"] - before)


def matched(steered: Sequence[Line], unsteered: Sequence[Line]) -> list[Both]:
    """Returns the pairs by question, in the run's own order. Repeated questions are paired one by one."""
    by_question: dict[tuple[str, str | None], list[Line]] = {}
    for line in reversed(unsteered):
        by_question.setdefault((line["question"], line.get("system_prompt")), []).append(line)
    pairs = []
    for line in steered:
        same = by_question.get((line["question"], line.get("system_prompt")))
        pairs.append(Both(same.pop() if same else None, line))
    return pairs


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


ORDERS: dict[str, tuple[str, Callable[[Both, int], float]]] = {
    "asked": ("as asked", lambda both, sign: 0.0),
    "worst": ("worst first", lambda both, sign: sign * _or(both.change, sign * 1e9)),
    "best": ("best first", lambda both, sign: -sign * _or(both.change, sign * -1e9)),
    "incoherent": ("least coherent first", lambda both, sign: _or(both.right["coherence"], -1.0)),
    "unsure": ("judge unsure first", lambda both, sign: -unsure(both.right)),
}
"""Orders by their name in the address: label and sort key. `sign` is -1 if the steering aims at less of the trait. Pairs without a score come
last by the trait, and first by coherence."""


def ordered(pairs: Sequence[Both], order: str, sign: int) -> list[Both]:
    """Returns the pairs sorted; equal pairs keep their order."""
    _, key = ORDERS[order]
    return sorted(pairs, key=lambda both: key(both, sign))


def pair(both: Both) -> Pair:
    """Returns a pair as the page shows it."""
    before, after = both.left, both.right
    left, right = marked(before["text"], after["text"]) if before is not None else (Markup(), shown(after["text"]))
    return Pair(
        question=after["question"],
        system_prompt=after.get("system_prompt"),
        left=None if before is None else _side(before, left),
        right=_side(after, right),
        change=both.change,
    )


def _side(line: Line, text: Markup) -> Side:
    note = "" if line.get("ended", True) else "cut off at the limit of tokens"
    note = note if line.get("finite", True) else "broke down: the push was too strong"
    return Side(text, scores(line), reply(line), note)
