"""Greedy generation for many prompts: the steering engine (`steered`) without a push.

In float32 a row's ids are those of the row alone whatever the batch plan (`choosing` says how). Knows nothing of text or
templates.
"""

from collections.abc import Callable, Mapping, Sequence

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredAnswer, SteeredRow, generate_steered

__all__ = ["GenerationCounts", "OnRowsDone", "generate_greedy"]

OnRowsDone = Callable[[list[tuple[int, list[int]]]], None]


def generate_greedy(  # noqa: PLR0913 - what a long run reports and goes on from is optional
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_rows: int,
    on_step: Callable[[GenerationCounts], None] | None = None,
    on_rows_done: OnRowsDone | None = None,
    counts: GenerationCounts | None = None,
    begun: Mapping[int, Sequence[int]] | None = None,
    so_far: dict[int, list[int]] | None = None,
) -> list[list[int]]:
    """The greedy answer's ids to each prompt, in the prompts' order; the end-of-sequence token is not included.

    `begun[i]` are the first ids of answer i, fewer than `max_new_tokens`: it is continued from there. `so_far` holds what follows them at any
    time, also after an error.

    At most `batch_rows` rows run together, longest prompts first. `on_step(counts)` is called after every token step and may
    raise to cancel; `on_rows_done([(index, ids)])` after each step in which rows ended, each row once. Raises ModelFault empty_prompt,
    prompt_too_long, token_out_of_range (before anything is computed), activations_not_finite, OutOfMemory.
    """

    def rows_done(found: list[tuple[int, SteeredAnswer]]) -> None:
        if not all(answer.finite for _, answer in found):
            raise ModelFault(
                "activations_not_finite",
                "The model's logits are not finite. In float16 a massive dimension overflows (beyond 65,504): use another dtype.",
            )
        if on_rows_done is not None:
            on_rows_done([(index, [*first[index], *answer.ids]) for index, answer in found])

    first = [list((begun or {}).get(index, ())) for index in range(len(prompts))]
    answers = generate_steered(
        lm,
        [
            SteeredRow([*prompt, *ids], most=max_new_tokens - len(ids)) if ids else SteeredRow(prompt)
            for prompt, ids in zip(prompts, first, strict=True)
        ],
        max_new_tokens=max_new_tokens,
        batch_rows=batch_rows,
        on_step=on_step,
        on_rows_done=rows_done,
        counts=counts,
        so_far=so_far,
    )
    return [[*ids, *answer.ids] for ids, answer in zip(first, answers, strict=True)]
