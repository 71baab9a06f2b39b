"""Generates batches for models with state other than keys and values (linear attention, state spaces), by running rows of one prompt length
together.

Such state has no columns, so rows cannot stand side by side at different positions. Rows of one prompt length enter together, step together, and
leave when they end; the next group enters when the last row has left. Slower than slots, equally exact. Equal prompts are computed once for each
row, because the state at which rows diverge is not kept.

`GroupedBatch` steps on the library's own cache. `WholeBatch` keeps no state and computes every row whole at each step, for models that give
other values with a cache than without.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.lm.hooks import Action
from workers.lm.interventions import Frame, Site
from workers.lm.masks import library_pass
from workers.lm.pass_sizes import MOST_TOKENS
from workers.lm.refilling import Batch, Row, worth_moving
from workers.lm.site_actions import actions_for, framed_actions
from workers.lm.structure.recording import Named
from workers.lm.structure.twin import cache_argument, positions_argument


class GroupedBatch(Batch):
    """At most `slots` rows at a time, all of one prompt length."""

    _recordable = False

    def _turn_over(self, queue: list[Row]) -> None:
        live = [place for place, row in enumerate(self.rows) if not row.done]
        if live:
            if worth_moving(len(self.rows) - len(live), len(self.rows)):
                self._keep(live)
                self.rows = [self.rows[place] for place in live]
                self._actions = None
            return
        length = len(queue[-1].prompt) if queue else 0
        most = max(1, min(self._slots, MOST_TOKENS // max(1, length)))
        self.rows = []
        while queue and len(self.rows) < most and len(queue[-1].prompt) == length:
            self.rows.append(queue.pop())
        self._actions = None
        if self.rows:
            self._enter()

    def _keep(self, live: Sequence[int]) -> None:
        """Removes the rows that ended from the state."""
        self._own.reorder_cache(torch.tensor(live, device=self._lm.device))

    def _enter(self) -> None:
        """Computes the prefixes of the rows that enter."""
        lm = self._lm
        self._own = DynamicCache(config=lm.layout.decoder.config)
        prefixes = [list(row.prompt[:-1]) for row in self.rows]
        if not prefixes[0]:
            return
        actions = actions_for(lm, self._bank, [row.pushes for row in self.rows], ["prompt"] * len(self.rows))
        with self._hooks.during(actions), library_pass():
            lm.layout.decoder(
                input_ids=torch.tensor(prefixes, device=lm.device), use_cache=True, **self._given(0, len(prefixes[0]))
            )
        for row in self.rows:
            row.saw(self._hooks.fired, "prompt", len(prefixes[0]))

    def _pass(self, tokens: Sequence[int], columns: Sequence[int]) -> Tensor:
        ids = torch.tensor(tokens, device=self._lm.device)[:, None]
        with library_pass():
            logits: Tensor = self._lm.model(
                input_ids=ids, use_cache=True, logits_to_keep=1, **self._given(max(columns), 1)
            ).logits
        return logits[:, -1]

    def _given(self, first: int, count: int) -> Named:
        decoder = self._lm.layout.decoder
        return {cache_argument(decoder): self._own, **positions_argument(decoder, first, count)}


class WholeBatch(GroupedBatch):
    """A grouped batch without state: each step computes all tokens of each row."""

    def _keep(self, live: Sequence[int]) -> None:
        pass

    def _enter(self) -> None:
        pass

    def _turn_over(self, queue: list[Row]) -> None:
        super()._turn_over(queue)
        self._actions = None

    def _programs(self, _frames: Sequence[Frame]) -> Mapping[Site, Action]:
        width = max(len(row.prompt) + len(row.answer) for row in self.rows)
        tokens_T = torch.arange(width, device=self._lm.device)
        in_prompt_BT = (tokens_T < len(self.rows[0].prompt)).expand(len(self.rows), -1)
        return framed_actions(self._lm, self._bank, [row.pushes for row in self.rows], in_prompt_BT, ~in_prompt_BT)

    def _account(self, frames: Sequence[Frame]) -> None:
        for row in self.rows:
            if not row.answer and not row.done and self._actions:
                row.saw(self._hooks.fired, "prompt", len(row.prompt) - 1)
        super()._account(frames)

    def _pass(self, _tokens: Sequence[int], columns: Sequence[int]) -> Tensor:
        width = max(columns) + 1
        rows = [[*row.prompt, *row.answer][:width] for row in self.rows]
        ids = torch.tensor([[*row, *[self._lm.pad_id] * (width - len(row))] for row in rows], device=self._lm.device)
        with library_pass():
            logits: Tensor = self._lm.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
        return logits[:, -1]
