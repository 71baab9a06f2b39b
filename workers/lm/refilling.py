"""A batch with changing rows: waiting rows take the slots of rows that ended, so that no row waits for the longest.

B rows in the batch, V vocabulary. A row enters with its prompt's prefix computed (`prefilling`), and its first step is the prompt's last token,
so that all logits come from one kind of pass: one token of each row. A row's values depend on its own slot and pushes alone; near ties are
decided by computing the row alone WITH its pushes (`choosing`). `steered` decides which row enters next and handles running out of memory.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from workers.lm.choosing import choose, logits_alone
from workers.lm.hooks import Action, Hooks
from workers.lm.interventions import Frame, Push, Site
from workers.lm.model import LanguageModel
from workers.lm.prefilling import prefill_rows
from workers.lm.recorded import RecordedSteps, one_token, recorder_for
from workers.lm.sampling import Sampling
from workers.lm.site_actions import VectorBank, actions_for, framed_actions
from workers.lm.slots import SlotCache

# Rows change slots when a 16th of the batch has ended: moving a few rows often costs more than leaving a few slots idle.
TURN_OVER = 16


@dataclass
class GenerationCounts:
    """Counters filled during generation. They depend on the batch plan, so they belong in no artifact but the provenance.

    `tokens_done` counts tokens computed, including those of a batch that was halved and repeated. `settled_alone` counts near ties.
    """

    rows_done: int = 0
    tokens_done: int = 0
    settled_alone: int = 0
    halvings: int = 0
    smallest_batch: int = 0


@dataclass(eq=False)
class Row:
    """The state of one row during generation: its request, its limit of `most` tokens, the answer so far, and the records of its pushes (in
    pairs of site and position)."""

    index: int
    prompt: Sequence[int]
    pushes: tuple[Push, ...]
    sampling: Sampling | None
    sites: dict[Frame, frozenset[Site]]
    most: int
    answer: list[int] = field(default_factory=list)
    ended: bool = False
    finite: bool = True
    done: bool = False
    due: int = 0
    fires: int = 0
    measured: int = 0
    change: float = 0.0
    uniforms: np.random.Generator | None = None

    def __post_init__(self) -> None:
        self.uniforms = self.sampling.uniforms() if self.sampling else None

    @property
    def scoped(self) -> bool:
        """Whether some of its pushes act only in the prompt or only in the response, even at a site where others act in both."""
        return any(push.scope != "all" for push in self.pushes)

    @property
    def frame(self) -> Frame:
        """The frame of the token for the next step, which is first the prompt's last token."""
        return "response" if self.answer else "prompt"

    def saw(self, fired: set[Site], frame: Frame, positions: int = 1) -> None:
        """Records that a pass over `positions` of the row fired the hooks at `fired`."""
        due = self.sites[frame]
        self.due += len(due) * positions
        self.fires += (len(due) if due <= fired else len(due & fired)) * positions

    def take(self, token: int | None, eos_ids: frozenset[int]) -> None:
        """Records the step's outcome: a token or the answer's end; None means that the row's logits are not finite."""
        if token is None:
            self.finite, self.done = False, True
        elif token in eos_ids:
            self.ended, self.done = True, True
        else:
            self.answer.append(token)
            self.done = len(self.answer) == self.most


def worth_moving(done: int, rows: int) -> bool:
    """Whether enough of a batch's rows have ended to make moving the others worthwhile."""
    return done * TURN_OVER >= max(rows, TURN_OVER)


class Batch:
    """Runs at most `slots` rows at a time, none longer than `columns` tokens including the last token that is fed to the model."""

    _recordable = True

    def __init__(self, lm: LanguageModel, hooks: Hooks, bank: VectorBank, *, slots: int, columns: int) -> None:
        self.rows: list[Row] = []  # row i is in slot i
        self._lm, self._hooks, self._bank = lm, hooks, bank
        self._slots, self._cache = slots, SlotCache(slots, columns)
        recorder = recorder_for(lm) if self._recordable else None
        self._recorded = None if recorder is None else RecordedSteps(lm, self._cache, hooks, recorder)
        self._actions: dict[Site, Action] | None = None
        self._on_pass: Callable[[], None] = lambda: None

    def run(self, waiting: Iterable[Row], counts: GenerationCounts, on_step: Callable[[list[Row]], None]) -> None:
        """Generates all rows of `waiting`, which enter in that order. `on_step(ended)` is called after each step, and with an empty list after
        each pass over prompts. Its errors pass through."""
        self._on_pass = lambda: on_step([])
        queue = list(reversed(list(waiting)))
        with torch.no_grad():
            while queue or self.rows:
                self._turn_over(queue)
                if self.rows:
                    live = [row for row in self.rows if not row.done]
                    counts.settled_alone += self._step()
                    counts.tokens_done += len(live)
                    on_step([row for row in live if row.done])

    def _turn_over(self, queue: list[Row]) -> None:
        """Removes ended rows once there are enough of them; waiting rows take their slots, and the rest move together."""
        live = [slot for slot, row in enumerate(self.rows) if not row.done]
        done = [slot for slot, row in enumerate(self.rows) if row.done]
        if self.rows and not worth_moving(len(done), len(self.rows)):
            return
        free = done + list(range(len(self.rows), self._cache.slots))
        entering = [queue.pop() for _ in range(min(len(queue), len(free)))]
        taken, free = free[: len(entering)], free[len(entering) :]
        total = len(live) + len(entering)
        holes = [slot for slot in free if slot < total]
        movers = [slot for slot in live if slot >= total]
        if movers:
            self._cache.move(movers, holes)
        places = dict(enumerate(self.rows)) | dict(zip(taken, entering, strict=True))
        places |= {hole: self.rows[mover] for hole, mover in zip(holes, movers, strict=True)}
        self.rows = [places[slot] for slot in range(total)]
        self._actions = None
        if entering:
            self._prefill(entering, taken)

    def _prefill(self, entering: Sequence[Row], slots: Sequence[int]) -> None:
        prefixes = [row.prompt[:-1] for row in entering]
        pushes = [row.pushes for row in entering]
        for segment, fired in prefill_rows(
            self._lm, self._hooks, self._bank, self._cache, prefixes, pushes, slots, self._on_pass
        ):
            for number in segment.rows:
                entering[number].saw(fired, "prompt", len(segment))

    def _step(self) -> int:
        """Generates one token of each row; returns how many choices were settled alone."""
        lm, rows = self._lm, self.rows
        frames: list[Frame] = [row.frame for row in rows]
        if self._actions is None:
            self._actions = dict(self._programs(frames))
        with self._hooks.during(self._actions, measuring=True):
            logits_BV = self._logits()
        self._account(frames)
        live = [index for index, row in enumerate(rows) if not row.done]
        ids, settled = choose(
            logits_BV,
            lambda index: self._alone(rows[index]),
            settle=live if lm.dtype == torch.float32 else (),
            draws={i: (s, rows[i].uniforms.random()) for i in live if (s := rows[i].sampling)},  # type: ignore[union-attr]
        )
        for index in live:
            rows[index].take(ids[index], lm.eos_ids)
        if any(rows[i].frame != frames[i] and rows[i].scoped for i in live):
            self._actions = None
        return settled

    def _programs(self, frames: Sequence[Frame]) -> Mapping[Site, Action]:
        """The action of each site's hook in the next step."""
        actions = actions_for(self._lm, self._bank, [row.pushes for row in self.rows], frames)
        return actions if self._recorded is None else self._recorded.place(actions, len(self.rows))

    def _logits(self) -> Tensor:
        """Logits [B, V] after one more token of each row. An ended row that has not left yet is fed an arbitrary token, in its first column."""
        lm = self._lm
        tokens = [lm.pad_id if row.done else (row.answer or row.prompt)[-1] for row in self.rows]
        return self._pass(tokens, [0 if row.done else len(row.prompt) - 1 + len(row.answer) for row in self.rows])

    def _pass(self, tokens: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Logits [B, V] after one token of each row, at the row's own column."""
        if self._recorded is not None:
            return self._recorded.logits(tokens, columns)
        tokens_B, pos_B = (torch.tensor(given, device=self._lm.device) for given in (tokens, columns))
        return one_token(self._lm, self._cache, tokens_B, pos_B, max(columns) + 1)

    def _account(self, frames: Sequence[Frame]) -> None:
        """Records for each row that its hooks fired, and by how much its hidden states changed."""
        if not self._actions:
            return
        change_B = self._hooks.change()
        changes = [0.0] * len(self.rows) if change_B is None else change_B[: len(self.rows)].tolist()
        for row, frame, change in zip(self.rows, frames, changes, strict=True):
            if not row.done and row.pushes:
                row.saw(self._hooks.fired, frame)
                if math.isfinite(change):
                    row.measured += len(row.sites[frame])
                    row.change += change

    def _alone(self, row: Row) -> Tensor:
        """The row's next-token logits [V], computed with its pushes and without the rest of the batch."""
        ids = [*row.prompt, *row.answer]
        if not row.pushes:
            return logits_alone(self._lm, ids)
        in_prompt_BT = torch.arange(len(ids), device=self._lm.device)[None] < len(row.prompt)
        with self._hooks.during(framed_actions(self._lm, self._bank, [row.pushes], in_prompt_BT, ~in_prompt_BT)):
            return logits_alone(self._lm, ids)
