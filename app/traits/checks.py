"""Checks that a dataset is usable as a trait; each error has its numbers and JSON pointers to the rows. Reads no files."""

from collections.abc import Mapping

from app.errors import Problem, invalid
from app.http.bodies import more_than
from app.settings import LimitSettings
from app.text import check_text
from app.traits.schemas import Prompt, TraitRequest
from binnacle.words.counting import counted

LEAST = 2
"""Least prompts of each class: with a single prompt, none can be held out and there is no variance."""
SHOWN = 20
"""Most rows listed in one error."""


def check(request: TraitRequest, limits: LimitSettings) -> None:
    """Raises Problem 422 for the first error in the dataset."""
    check_text(request.model_dump(mode="json"))
    _check_size(request, limits)
    check_bytes(sum(len(text) for _, text in [*_texts(request), *_further_texts(request)]), limits)
    _check_texts(request, limits)
    for part, rows in (("positive", request.positive), ("negative", request.negative)):
        if len(rows) < LEAST:
            other = "negative" if part == "positive" else "positive"
            detail = (
                f"/{part} holds {counted(len(rows), 'prompt')}; a trait is a contrast and needs {LEAST} or more of each class, "
                f"{other} and {part}."
            )
            raise invalid(f"/{part}", "too_few_prompts", detail)
    _check_classes(request)
    if not request.steering.questions:
        detail = "/steering/questions is empty. A trait needs questions on which its vectors are steered and judged: give some."
        raise invalid("/steering/questions", "no_questions", detail)
    _check_eval_prompt(request.steering.eval_prompt)


def _check_size(request: TraitRequest, limits: LimitSettings) -> None:
    sizes = {
        "positive": len(request.positive),
        "negative": len(request.negative),
        "questions": len(request.steering.questions),
        "paraphrases": len(request.paraphrases),
        "unrelated": len(request.unrelated),
    }
    total = sum(sizes.values())
    if total > limits.trait_prompts:
        sums = " + ".join(f"{count:,} {part}" for part, count in sizes.items() if count)
        detail = (
            f"{sums} = {total:,} prompts and questions; this server allows {limits.trait_prompts:,} in one trait. Send fewer."
        )
        largest = max(sizes, key=lambda part: sizes[part])
        raise invalid("/steering/questions" if largest == "questions" else f"/{largest}", "too_many_prompts", detail)


def _texts(request: TraitRequest) -> list[tuple[str, str]]:
    """Returns every prompt and question by pointer."""
    texts = [(f"/positive/{i}/prompt", row.prompt) for i, row in enumerate(request.positive)]
    texts += [(f"/negative/{i}/prompt", row.prompt) for i, row in enumerate(request.negative)]
    texts += [(f"/steering/questions/{i}/question", row.question) for i, row in enumerate(request.steering.questions)]
    texts += [(f"/paraphrases/{i}/question", row.question) for i, row in enumerate(request.paraphrases)]
    return texts + [(f"/unrelated/{i}/question", row.question) for i, row in enumerate(request.unrelated)]


def _check_texts(request: TraitRequest, limits: LimitSettings) -> None:
    for pointer, text in _texts(request):
        if not text.strip():
            raise invalid(pointer, "blank_prompt", f"{pointer} holds only white space. Write a text or leave the row out.")
    for pointer, text in [*_texts(request), *_further_texts(request)]:
        if len(text) > limits.prompt_characters:
            detail = f"{pointer} has {len(text):,} characters; this server allows {limits.prompt_characters:,}. Shorten it."
            raise invalid(pointer, "prompt_too_long", detail)


def _further_texts(request: TraitRequest) -> list[tuple[str, str]]:
    """Returns the optional texts that are present, by pointer."""
    texts: list[tuple[str, str | None]] = [
        ("/definition", request.definition),
        ("/steering/eval_prompt", request.steering.eval_prompt),
    ]
    for part, rows in (("positive", request.positive), ("negative", request.negative)):
        for i, row in enumerate(rows):
            texts += [(f"/{part}/{i}/system_prompt", row.system_prompt), (f"/{part}/{i}/response", row.response)]
    texts += [(f"/steering/questions/{i}/system_prompt", row.system_prompt) for i, row in enumerate(request.steering.questions)]
    return [(pointer, text) for pointer, text in texts if text is not None]


def _same(row: Prompt) -> tuple[str, str, str | None]:
    """Returns the parts of a row that the model reads: two rows are equal to the model if these are equal."""
    return row.prompt.strip(), (row.system_prompt or "").strip(), row.response


def _check_classes(request: TraitRequest) -> None:
    """Checks that rows of both classes share a prompt only if their system prompts or given responses differ."""
    negative: dict[tuple[str, str, str | None], int] = {}
    for j, row in enumerate(request.negative):
        negative.setdefault(_same(row), j)
    both = [(i, negative[_same(row)]) for i, row in enumerate(request.positive) if _same(row) in negative]
    if not both:
        return
    rows = ", ".join(f"/positive/{i} = /negative/{j}" for i, j in both[:SHOWN]) + (", ..." if len(both) > SHOWN else "")
    detail = (
        f"{len(both):,} of {len(request.positive):,} positive prompts are also negative prompts, with the same "
        f"system prompt and response: {rows}. A text can belong to one class only; change or remove it."
    )
    errors = [
        {"pointer": f"/positive/{i}", "detail": f"It equals /negative/{j}.", "code": "prompt_in_both_classes"}
        for i, j in both[:SHOWN]
    ]
    raise Problem(422, "prompt_in_both_classes", detail, errors=errors)


def _check_eval_prompt(template: str | None) -> None:
    if template is not None and "{answer}" not in template:
        detail = "/steering/eval_prompt has no {answer}: the judge would never see the text. Write {question} and {answer} where they go."
        raise invalid("/steering/eval_prompt", "eval_prompt_without_answer", detail)


def check_files(files: Mapping[str, bytes], limits: LimitSettings) -> None:
    """Raises Problem 422, before reading, for files that would be too expensive to read."""
    for name, data in files.items():
        if data.count(b"\n") > limits.json_values or more_than(data, limits.json_values):
            detail = (
                f"{name} holds more than {limits.json_values:,} lines or values, the most that this server reads from a file."
            )
            raise invalid(f"/{name}", "too_many_values", detail)


def check_bytes(size: int, limits: LimitSettings) -> None:
    """Raises Problem 422 for a dataset too large to store."""
    if size > limits.trait_bytes:
        detail = (
            f"The dataset has {size:,} bytes or more as it is stored; this server allows {limits.trait_bytes:,}. "
            "Send fewer or shorter texts."
        )
        raise invalid("", "trait_too_large", detail)
