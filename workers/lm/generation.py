"""Greedy generation for many prompts: the steering engine (`steered`) without a push.

In float32 a row's ids equal those of the row run alone, whatever the batch plan (`choosing` says how). Works on ids, without text or templates.
"""

from collections.abc import Callable, Mapping, Sequence

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredAnswer, SteeredRow, generate_steered

__all__ = ["GenerationCounts", "OnRowsDone", "generate_greedy"]

OnRowsDone = Callable[[list[tuple[int, list[int]]]], None]


def generate_greedy(  # noqa: PLR0913 - progress callbacks and the state to resume from are optional
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
    """Returns the greedy answer's ids for each prompt, in the prompts' order, without the end-of-sequence token.

    `begun[i]` are the first ids of answer i, fewer than `max_new_tokens`: generation continues from there. `so_far` holds at any time, also
    after an error, the ids generated after those.

    At most `batch_rows` rows run together, longest prompts first. `on_step(counts)` is called after every token step and may raise to cancel;
    `on_rows_done([(index, ids)])` is called after each step in which rows ended, once for each row. Raises ModelFault empty_prompt,
    prompt_too_long, token_out_of_range (before anything is computed), activations_not_finite, OutOfMemory.
    """

    def rows_done(answered: list[tuple[int, SteeredAnswer]]) -> None:
        if not all(answer.finite for _, answer in answered):
            raise ModelFault(
                "activations_not_finite",
                "The model's logits are not finite. In float16 a massive dimension overflows (beyond 65,504): use another dtype.",
            )
        if on_rows_done is not None:
            on_rows_done([(index, [*first[index], *answer.ids]) for index, answer in answered])

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
