"""A generation: each prompt's answers beside each other, unsteered first, then by vector and dose."""

from collections.abc import Sequence

from app.pages.results.parts import Facts, Sections, Text
from app.pages.wording import number


def sections(answers: Sequence[Facts]) -> Sections:
    """From the answers on the job."""
    prompts: dict[tuple[str, str | None], list[Facts]] = {}
    for one in answers:
        prompts.setdefault((one["prompt"], one.get("system_prompt")), []).append(one)
    vectors = list(dict.fromkeys(one["vector"] for one in answers if one.get("vector")))
    parts = [
        Text(prompt, system, [(_heading(one, vectors), one["text"], _note(one)) for one in ones])
        for (prompt, system), ones in prompts.items()
    ]
    return Sections(parts)


def _heading(one: Facts, vectors: list[str]) -> str:
    if one.get("vector") is None:
        return "unsteered"
    push = f"dose {number(one['r'])}" if one.get("r") is not None else f"coefficient {number(one.get('c'))}"
    return push if len(vectors) == 1 else f"vector {vectors.index(one['vector']) + 1}, {push}"


def _note(one: Facts) -> str:
    if not one.get("finite", True):
        return "broke down: the push was too strong"
    return "" if one.get("ended", True) else "cut off at the limit of tokens"
