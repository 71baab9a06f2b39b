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
    plain = next((one for one in answers if one.get("vector") is None), None)
    if plain is None:
        return []
    found = []
    left = shown(plain["text"])
    for at, push in enumerate(pushes):
        own = next((one for one in answers if one.get("vector") == push.vector and _same(one.get("r"), push.dose)), None)
        if own is not None:
            before, after = marked(plain["text"], own["text"])
            left = before if len(pushes) == 1 else left
            found.append(Column(at, after, _note(own)))
    return [Column(None, left, _note(plain)), *found]


def _same(r: float | None, dose: float) -> bool:
    return r is not None and math.isclose(r, dose, rel_tol=1e-6)


def _note(one: Answered) -> str:
    if not one.get("finite", True):
        return "broke down: the push was too strong"
    return "" if one.get("ended", True) else "cut off at the limit of tokens"
