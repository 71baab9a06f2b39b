"""Greedy answers to many prompts, stored as cells so that a killed job resumes with the answers it already has. Every job that generates text
uses this.

A cell is a chunk of the prompts in their order; the division into cells does not depend on the batch size, and several cells run in one batch.
In float32 an answer does not depend on the batch, so a job that was killed and resumed gives the same ids. A float32 job can also yield within a
batch: the partial answers are stored and continued later. A 16-bit job yields only between batches.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from workers.lm.generation import GenerationCounts, generate_greedy
from workers.lm.memory import batch_rows_for
from workers.lm.model import LanguageModel
from workers.lm.routing import routing_flips

CELL_PROMPTS = 8  # prompts per cell; more when there would otherwise be more than MAX_CELLS cells
MAX_CELLS = 32
MOST_ROWS = 64  # in one batch: a kill loses at most so many rows' work
ASK_SECONDS = 2.0  # within a batch, seconds between checks whether another job waits for the device


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
    """Returns the answer ids of every prompt, reusing finished cells, and the metrics of this attempt.

    Progress is counted in tokens, `len(prompts) * new_tokens` in all. Raises what generate_greedy raises; `on_fault(prompt numbers)` is called
    before that and may raise a more precise error.
    """
    work = _Answering(lm, prompts, new_tokens, keeper, prefix)
    rows = min(MOST_ROWS, batch_rows_for(lm, max(map(len, prompts)), new_tokens, keeper.batch_budget_bytes))
    size = max(CELL_PROMPTS, -(-len(prompts) // MAX_CELLS))
    cells = [range(start, min(start + size, len(prompts))) for start in range(0, len(prompts), size)]
    kept = {cell: keeper.cell(f"{prefix}/{cell:03d}") for cell in range(len(cells))}
    answered: dict[int, list[list[int]]] = {cell: json.loads(data) for cell, data in kept.items() if data is not None}
    missing = [cell for cell in range(len(cells)) if cell not in answered]
    together = max(1, rows // size)  # cells are the unit of resuming; a batch takes as many of them as fit
    for batch in (missing[i : i + together] for i in range(0, len(missing), together)):
        which = [index for cell in batch for index in cells[cell]]
        done = sum(len(cells[cell]) for cell in answered) * new_tokens
        try:
            generated = iter(work.generate(which, rows, done))
        except Exception:
            if on_fault is not None:
                on_fault(which)
            raise
        for cell in batch:
            answered[cell] = [next(generated) for _ in cells[cell]]
            keeper.commit_cell(f"{prefix}/{cell:03d}", json.dumps(answered[cell], separators=(",", ":")).encode())
        keeper.progress(sum(len(cells[cell]) for cell in answered) * new_tokens)
        keeper.may_yield()
    metrics = {
        "generation_batch_rows": min(rows, together * size, len(prompts)),
        "tokens_computed": work.counts.tokens_done,
        "halvings": work.counts.halvings,
        "near_ties_settled": work.counts.settled_alone,
    }
    answers = [answer for cell in range(len(cells)) for answer in answered[cell]]
    if missing:
        metrics |= routing_flips(lm, [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)])
    return answers, metrics


class _Answering:
    """Batches of prompts; each prompt continues from the partial answer that an earlier attempt stored."""

    def __init__(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int, keeper: Keeper, prefix: str) -> None:
        self._lm, self._prompts, self._new_tokens, self._keeper = lm, prompts, new_tokens, keeper
        self._cell = f"{prefix}/begun"
        self._exact = lm.dtype == torch.float32
        kept = keeper.cell(self._cell) if self._exact else None
        self._begun: dict[int, list[int]] = {} if kept is None else {int(i): ids for i, ids in json.loads(kept).items()}
        self._asked = time.monotonic()
        self.counts = GenerationCounts()

    def generate(self, which: Sequence[int], rows: int, done: int) -> list[list[int]]:
        """Returns the answers to the prompts numbered `which`. `done` is the number of tokens that finished cells account for."""
        begun = {place: self._begun[index] for place, index in enumerate(which) if index in self._begun}
        whole = {place for place, ids in begun.items() if len(ids) == self._new_tokens}
        open_ = [place for place in range(len(which)) if place not in whole]
        before, skipped = self.counts.tokens_done, sum(map(len, begun.values()))

        def step(tally: GenerationCounts) -> None:
            # rows that end early count in full once the batch is done; rows that are repeated after a halving do not count twice
            self._keeper.progress(done + min(skipped + tally.tokens_done - before, len(which) * self._new_tokens))
            if self._exact and time.monotonic() - self._asked >= ASK_SECONDS:
                self._asked = time.monotonic()
                self._keeper.may_yield()

        so_far: dict[int, list[int]] = {}
        try:
            generated = generate_greedy(
                self._lm, [self._prompts[which[place]] for place in open_], max_new_tokens=self._new_tokens, batch_rows=rows,
                on_step=step, counts=self.counts, so_far=so_far,
                begun={at: begun[place] for at, place in enumerate(open_) if place in begun},
            )  # fmt: skip
        except BaseException as error:
            if self._exact and not isinstance(error, Exception):  # the job must stop here
                self._keep({which[place]: [*begun.get(place, ()), *so_far.get(at, ())] for at, place in enumerate(open_)})
            raise
        answers = dict(zip(open_, generated, strict=True)) | {place: begun[place] for place in whole}
        return [answers[place] for place in range(len(which))]

    def _keep(self, answers: dict[int, list[int]]) -> None:
        """Stores the partial answers. Raises what the context raises when the job may no longer write."""
        kept = self._begun | {index: ids for index, ids in answers.items() if ids}
        if kept != self._begun:
            self._keeper.commit_cell(self._cell, json.dumps(kept, separators=(",", ":")).encode())
