"""Shows a generation: each prompt's answers side by side, unsteered first, then by vector and dose."""

from collections.abc import Sequence

from app.pages.results.parts import Sections, Text
from app.pages.wording import number
from terms.documents.generation import Answered


def sections(answers: Sequence[Answered]) -> Sections:
    """Returns the sections from the answers on the job."""
    prompts: dict[tuple[str, str | None], list[Answered]] = {}
    for answer in answers:
        prompts.setdefault((answer["prompt"], answer.get("system_prompt")), []).append(answer)
    vectors = list(dict.fromkeys(vector for answer in answers if (vector := answer.get("vector"))))
    parts = [
        Text(prompt, system, [(_heading(answer, vectors), answer["text"], _note(answer)) for answer in of_prompt])
        for (prompt, system), of_prompt in prompts.items()
    ]
    return Sections(parts)


def _heading(answer: Answered, vectors: list[str]) -> str:
    """Returns `unsteered`, or the dose with, if there are several vectors, the vector's number in the order of the answers."""
    vector = answer.get("vector")
    if vector is None:
        return "unsteered"
    push = "ablated" if answer.get("c") is None else f"coefficient {number(answer['c'])}"
    if answer.get("r") is not None:
        push = f"dose {number(answer['r'])}"
    return push if len(vectors) == 1 else f"vector {vectors.index(vector) + 1}, {push}"


def _note(answer: Answered) -> str:
    """Returns what a reader should know of an answer; empty for an answer that ended by itself."""
    if not answer.get("finite", True):
        return "broke down: the push was too strong"
    return "" if answer.get("ended", True) else "cut off at the limit of tokens"
