"""Shows a generation: each prompt's answers side by side, unsteered first, then by vector and dose."""

from collections.abc import Sequence

from app.pages.results.parts import Sections, Text
from app.pages.wording import number
from terms.documents.generation import Answered


def sections(answers: Sequence[Answered]) -> Sections:
    """Returns the sections from the answers on the job."""
    prompts: dict[tuple[str, str | None], list[Answered]] = {}
    for one in answers:
        prompts.setdefault((one["prompt"], one.get("system_prompt")), []).append(one)
    vectors = list(dict.fromkeys(vector for one in answers if (vector := one.get("vector"))))
    parts = [
        Text(prompt, system, [(_heading(one, vectors), one["text"], _note(one)) for one in ones])
        for (prompt, system), ones in prompts.items()
    ]
    return Sections(parts)


def _heading(one: Answered, vectors: list[str]) -> str:
    """Returns `unsteered`, or the dose with, if there are several vectors, the vector's number in the order of the answers."""
    vector = one.get("vector")
    if vector is None:
        return "unsteered"
    push = "ablated" if one.get("c") is None else f"coefficient {number(one['c'])}"
    if one.get("r") is not None:
        push = f"dose {number(one['r'])}"
    return push if len(vectors) == 1 else f"vector {vectors.index(vector) + 1}, {push}"


def _note(one: Answered) -> str:
    """Returns what a reader should know of an answer; empty for an answer that ended by itself."""
    if not one.get("finite", True):
        return "broke down: the push was too strong"
    return "" if one.get("ended", True) else "cut off at the limit of tokens"
