"""Greedy answers to many prompts, kept as cells: the resumable way in which every job generates what it later reads.

A cell is a chunk of the prompts in their order, a fixed plan whatever the batch size; several cells run in one batch. In float32 an answer
does not depend on the batch, so a job that was killed and resumed gives the same ids.
"""

import json
from collections.abc import Callable, Sequence
from typing import Protocol

from workers.lm.generation import GenerationCounts, generate_greedy
from workers.lm.memory import batch_rows_for
from workers.lm.model import LanguageModel
from workers.lm.routing import routing_flips

CELL_PROMPTS = 8  # prompts per cell, and more only when there would be over MAX_CELLS cells
MAX_CELLS = 32
MOST_ROWS = 64  # in one batch: what a kill may cost


class Keeper(Protocol):
    """The part of a job's context that answering needs."""

    @property
    def batch_budget_bytes(self) -> int: ...
    def progress(self, done: int) -> None: ...
    def may_yield(self) -> None: ...
    def cell(self, name: str) -> bytes | None: ...
    def commit_cell(self, name: str, data: bytes) -> None: ...


def answer_all(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    keeper: Keeper,
    *,
    prefix: str = "generated",
    on_fault: Callable[[Sequence[int]], None] | None = None,
) -> tuple[list[list[int]], dict[str, int]]:
    """Every prompt's answer ids, from finished cells where there are any, and what this attempt did.

    Progress is counted in tokens, `len(prompts) * new_tokens` in all. Raises what generate_greedy raises; `on_fault(prompt numbers)` is
    called first and may raise something that says more.
    """
    counts = GenerationCounts()
    rows = min(MOST_ROWS, batch_rows_for(lm, max(map(len, prompts)), new_tokens, keeper.batch_budget_bytes))
    size = max(CELL_PROMPTS, -(-len(prompts) // MAX_CELLS))
    cells = [range(start, min(start + size, len(prompts))) for start in range(0, len(prompts), size)]
    kept = {cell: keeper.cell(f"{prefix}/{cell:03d}") for cell in range(len(cells))}
    found: dict[int, list[list[int]]] = {cell: json.loads(data) for cell, data in kept.items() if data is not None}
    missing = [cell for cell in range(len(cells)) if cell not in found]
    together = max(1, rows // size)  # cells are the unit of resuming; a batch takes as many of them as fit
    for batch in (missing[i : i + together] for i in range(0, len(missing), together)):
        which = [index for cell in batch for index in cells[cell]]
        done = sum(len(cells[cell]) for cell in found) * new_tokens
        before = counts.tokens_done

        def step(tally: GenerationCounts, done: int = done, before: int = before, count: int = len(which)) -> None:
            # rows that end early count in full once the batch is done; rows halved and repeated do not count twice
            keeper.progress(done + min(tally.tokens_done - before, count * new_tokens))

        try:
            generated = iter(
                generate_greedy(
                    lm, [prompts[i] for i in which], max_new_tokens=new_tokens, batch_rows=rows, on_step=step, counts=counts
                )
            )
        except Exception:
            if on_fault is not None:
                on_fault(which)
            raise
        for cell in batch:
            found[cell] = [next(generated) for _ in cells[cell]]
            keeper.commit_cell(f"{prefix}/{cell:03d}", json.dumps(found[cell], separators=(",", ":")).encode())
        keeper.progress(sum(len(cells[cell]) for cell in found) * new_tokens)
        keeper.may_yield()
    metrics = {
        "generation_batch_rows": min(rows, together * size, len(prompts)),
        "tokens_computed": counts.tokens_done,
        "halvings": counts.halvings,
        "near_ties_settled": counts.settled_alone,
    }
    answers = [answer for cell in range(len(cells)) for answer in found[cell]]
    return answers, metrics | routing_flips(lm, [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)])
