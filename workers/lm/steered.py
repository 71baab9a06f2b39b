"""Steered generation: rows with any layers, vectors, doses, operations and questions share a batch, and each behaves as if it ran alone.

In float32 a row's ids are those of the row alone whatever the batch plan (`choosing` says how). Each answer reports how often its hooks fired
and by how much they changed the hidden states; a row that should have been steered and was not is a fault, never an answer. Works on ids,
without text, templates, doses or scores.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.grouped import GroupedBatch, WholeBatch
from workers.lm.hooks import Hooks, hooked
from workers.lm.interventions import Frame, Push, Site, check_pushes
from workers.lm.memory import does_not_fit, free_memory, is_out_of_memory
from workers.lm.model import LanguageModel
from workers.lm.prefilling import sites_to_hook
from workers.lm.refilling import Batch, GenerationCounts, Row
from workers.lm.sampling import Sampling
from workers.lm.site_actions import VectorBank


@dataclass(frozen=True, eq=False)
class SteeredRow:
    """One row to generate: greedy without `sampling`, unsteered without pushes. `most` overrides the common limit of new tokens."""

    prompt_ids: Sequence[int]
    pushes: tuple[Push, ...] = ()
    sampling: Sampling | None = None
    most: int | None = None


class RowEffect(TypedDict):
    """The measured effect of a row's pushes, counted in pairs of site and position.

    `fires`: the pairs at which its hooks ran; `due`: the pairs at which they should have run. `mean_change`: mean of |h after - h before| over
    the pairs of the generation steps, the prompt's last position included. `asked`: the mean expected from the coefficients, where the row only
    adds; else None. A measured mean within AS_ASKED of `asked` is reported as `asked`, because its last digits are rounding, which depends on
    the batch.
    """

    fires: int
    due: int
    mean_change: float
    asked: float | None


@dataclass(frozen=True)
class SteeredAnswer:
    """A generated answer. `ids` are without the end-of-sequence token; `ended` says whether that token came. When `finite` is False the logits
    overflowed, and `ids` end before that."""

    ids: list[int]
    ended: bool
    finite: bool
    effect: RowEffect


AS_ASKED = 1e-3
"""Relative tolerance. In float32, adding to hidden states with massive dims rounds by less than this."""

OnRowsDone = Callable[[list[tuple[int, SteeredAnswer]]], None]


def generate_steered(  # noqa: PLR0913 - progress callbacks and the state to resume from are optional
    lm: LanguageModel,
    rows: Sequence[SteeredRow],
    *,
    max_new_tokens: int,
    batch_rows: int,
    on_step: Callable[[GenerationCounts], None] | None = None,
    on_rows_done: OnRowsDone | None = None,
    counts: GenerationCounts | None = None,
    so_far: dict[int, list[int]] | None = None,
) -> list[SteeredAnswer]:
    """Returns the answers, in the rows' order. At most `batch_rows` rows run together, longest prompts first, equal prompts together.

    `on_step(counts)` is called after every token step and may raise to cancel; `on_rows_done([(index, answer)])` is called after each step in
    which rows ended, once for each row. `so_far` holds each row's ids at any time, also after an error. Raises ModelFault empty_prompt,
    prompt_too_long, token_out_of_range, bad_sampling and what `check_pushes` raises before anything is computed; no_effect; OutOfMemory when one
    row alone does not fit.
    """
    _check(lm, rows, max_new_tokens, batch_rows)
    if not rows:
        return []
    under_way = _UnderWay(
        lm,
        rows,
        max_new_tokens,
        tally=GenerationCounts() if counts is None else counts,
        so_far={} if so_far is None else so_far,
        on_step=on_step,
        on_rows_done=on_rows_done,
    )
    pushes = [push for row in rows for push in row.pushes]
    sites = {site for push in pushes for site in push.sites(lm.layout.n_layers)}
    with hooked(lm, sites_to_hook(sites)) as hooks:
        under_way.run(hooks, VectorBank(lm, pushes), batch_rows)
    return [under_way.answers[index] for index in range(len(rows))]


@dataclass(eq=False)
class _UnderWay:
    """Rows during generation, and the finished answers by row."""

    lm: LanguageModel
    rows: Sequence[SteeredRow]
    max_new_tokens: int
    tally: GenerationCounts
    so_far: dict[int, list[int]]
    on_step: Callable[[GenerationCounts], None] | None
    on_rows_done: OnRowsDone | None
    answers: dict[int, SteeredAnswer] = field(default_factory=dict)

    def run(self, hooks: Hooks, bank: VectorBank, batch_rows: int) -> None:
        """Answers all rows. When memory runs out, unfinished rows restart in a batch of half the size, and the smaller size stays."""
        batch_class = {"slots": Batch, "library": GroupedBatch, "whole": WholeBatch}[self.lm.layout.structure.engine]
        slots = self.tally.smallest_batch = min(batch_rows, len(self.rows))
        while entering := self._unanswered():
            longest = max(len(row.prompt) + row.most for row in entering)
            batch = batch_class(self.lm, hooks, bank, slots=slots, columns=longest - 1)
            failure = None
            try:
                batch.run(entering, self.tally, self._step)
            except (MemoryError, RuntimeError, OutOfMemory) as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error) or type(error).__name__
                traceback.clear_frames(error.__traceback__)  # its frames keep the tensors that filled the memory alive
            if failure is not None:
                running = len(batch.rows)
                del batch
                free_memory()
                if running <= 1:
                    raise OutOfMemory(does_not_fit(failure))
                slots = running // 2
                self.tally.halvings += 1
                self.tally.smallest_batch = slots

    def _unanswered(self) -> list[Row]:
        """The unanswered rows, longest prompts first, equal prompts together. Each starts from the beginning."""
        waiting = [index for index in range(len(self.rows)) if index not in self.answers]
        waiting.sort(key=lambda i: (-len(self.rows[i].prompt_ids), tuple(self.rows[i].prompt_ids), i))
        entering = [_row(self.lm, self.rows[index], index, self.max_new_tokens) for index in waiting]
        self.so_far.update({row.index: row.answer for row in entering})
        return entering

    def _step(self, ended: list[Row]) -> None:
        answered = [(row.index, _answer(row)) for row in ended]
        self.answers.update(answered)
        self.tally.rows_done += len(answered)
        if answered and self.on_rows_done is not None:
            self.on_rows_done(answered)
        if self.on_step is not None:
            self.on_step(self.tally)


def _row(lm: LanguageModel, row: SteeredRow, index: int, max_new_tokens: int) -> Row:
    def sites(frame: Frame) -> frozenset[Site]:
        return frozenset(site for push in row.pushes if push.acts_in(frame) for site in push.sites(lm.layout.n_layers))

    frames: dict[Frame, frozenset[Site]] = {"prompt": sites("prompt"), "response": sites("response")}
    return Row(index, row.prompt_ids, row.pushes, row.sampling, frames, row.most or max_new_tokens)


def _answer(row: Row) -> SteeredAnswer:
    """Builds the answer of a finished row. Raises ModelFault no_effect."""
    mean_change = row.change / row.measured if row.measured else 0.0
    if row.fires < row.due or (row.measured and row.finite and mean_change == 0):
        raise ModelFault(
            "no_effect",
            f"Row {row.index} was to be steered at {row.due} pairs of site and position; its hooks ran at {row.fires} and changed the "
            f"hidden states by {mean_change:g} on average. Its text would be unsteered and was not kept. A dose this "
            "small may be below the precision of the model's dtype; otherwise another program has removed or bypassed the hooks.",
        )
    asked = _asked(row)
    if asked is not None and abs(mean_change - asked) <= AS_ASKED * asked:
        mean_change = asked
    effect = RowEffect(fires=row.fires, due=row.due, mean_change=mean_change, asked=asked)
    return SteeredAnswer(row.answer, row.ended, row.finite, effect)


def _asked(row: Row) -> float | None:
    """The mean over the row's sites of |sum of c v|, if all its pushes add everywhere; else None."""
    if not row.pushes or any(push.operation != "add" or push.scope != row.pushes[0].scope for push in row.pushes):
        return None
    at: dict[Site, list[Push]] = {}
    for push in row.pushes:
        at.setdefault((push.layer, push.component), []).append(push)
    sizes = [float(sum(push.coefficient * push.vector for push in pushes).norm()) for pushes in at.values()]  # type: ignore[union-attr]
    return sum(sizes) / len(sizes)


def settled_change(change: float) -> float:
    """Rounds a mean change to three digits, which do not depend on the rows that shared a batch."""
    return float(f"{change:.3g}")


def _check(lm: LanguageModel, rows: Sequence[SteeredRow], max_new_tokens: int, batch_rows: int) -> None:
    if max_new_tokens < 1 or batch_rows < 1:
        raise ModelFault(
            "nothing_to_generate", f"max_new_tokens is {max_new_tokens}, batch_rows {batch_rows}: each must be at least 1."
        )
    for row in rows:
        lm.check_ids(row.prompt_ids, row.most or max_new_tokens)
        if row.sampling is not None:
            row.sampling.check()
        check_pushes(lm, row.pushes)
