"""Greedy generation for many prompts: batches of similar length, sized by the caller, halved when memory runs out.

In float32 a row's ids are those of the row alone whatever the batch plan (`choosing` says how). Knows nothing of text or
templates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.lm.decoding import decode_batch
from workers.lm.errors import ModelFault
from workers.lm.memory import with_halving
from workers.lm.model import LanguageModel


@dataclass
class GenerationCounts:
    """What happened, filled while `generate_greedy` runs: it changes with the batch plan and belongs in no artifact but the
    provenance.

    `steps_in_batch` counts tokens computed, also those of a batch that was halved and done again. `settled_alone` counts near
    ties.
    """

    rows_done: int = 0
    tokens_done: int = 0
    settled_alone: int = 0
    halvings: int = 0
    smallest_batch: int = 0


OnRowsDone = Callable[[list[tuple[int, list[int]]]], None]


def generate_greedy(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_rows: int,
    on_step: Callable[[GenerationCounts], None] | None = None,
    on_rows_done: OnRowsDone | None = None,
    counts: GenerationCounts | None = None,
) -> list[list[int]]:
    """The greedy answer's ids to each prompt, in the prompts' order; the end-of-sequence token is not included.

    At most `batch_rows` rows run together, longest prompts first. `on_step(counts)` is called after every token step and may
    raise to cancel; `on_rows_done([(index, ids)])` after every batch, each row once. Raises ModelFault empty_prompt,
    prompt_too_long, token_out_of_range (before anything is computed), activations_not_finite, OutOfMemory.
    """
    if max_new_tokens < 1 or batch_rows < 1:
        raise ModelFault(
            "nothing_to_generate", f"max_new_tokens is {max_new_tokens}, batch_rows {batch_rows}: each must be at least 1."
        )
    for prompt in prompts:
        lm.check_ids(prompt, max_new_tokens)
    if not prompts:
        return []
    tally = counts if counts is not None else GenerationCounts()
    tally.smallest_batch = min(batch_rows, len(prompts))

    def step(rows: int) -> None:
        tally.tokens_done += rows
        if on_step is not None:
            on_step(tally)

    def run(batch: Sequence[int]) -> list[list[int]]:
        found, settled = decode_batch(lm, [prompts[i] for i in batch], max_new_tokens=max_new_tokens, on_step=step)
        tally.settled_alone += settled
        tally.rows_done += len(batch)
        if on_rows_done is not None:
            on_rows_done(list(zip(batch, found, strict=True)))
        return found

    def halved(rows: int) -> None:
        tally.halvings += 1
        tally.smallest_batch = rows

    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    answers = with_halving(run, order, batch_rows, on_halved=halved)
    by_index = dict(zip(order, answers, strict=True))
    return [by_index[i] for i in range(len(prompts))]
