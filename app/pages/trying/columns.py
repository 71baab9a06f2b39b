"""Arranges the answers of a try: unsteered first, then one column for each push. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from app.pages.texts.differences import marked, shown
from terms.documents.generation import Answered


@dataclass(frozen=True)
class Push:
    """A vector at a dose."""

    vector: str
    dose: float


@dataclass(frozen=True)
class Column:
    """An answer. `push` counts from 0; None for the unsteered answer."""

    push: int | None
    text: Markup
    note: str


def columns(answers: Sequence[Answered], pushes: Sequence[Push]) -> list[Column]:
    """Returns the columns of a try, unsteered first. Pushes without an answer are left out.

    Words that a push changed are marked; with a single push, also words that it removed.
    """
    plain = next((answer for answer in answers if answer.get("vector") is None), None)
    if plain is None:
        return []
    steered = []
    left = shown(plain["text"])
    for at, push in enumerate(pushes):
        own = next(
            (answer for answer in answers if answer.get("vector") == push.vector and _same(answer.get("r"), push.dose)), None
        )
        if own is not None:
            before, after = marked(plain["text"], own["text"])
            left = before if len(pushes) == 1 else left
            steered.append(Column(at, after, _note(own)))
    return [Column(None, left, _note(plain)), *steered]


def _same(r: float | None, dose: float) -> bool:
    return r is not None and math.isclose(r, dose, rel_tol=1e-6)


def _note(answer: Answered) -> str:
    if not answer.get("finite", True):
        return "broke down: the push was too strong"
    return "" if answer.get("ended", True) else "cut off at the limit of tokens"
