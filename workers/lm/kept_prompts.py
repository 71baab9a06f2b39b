"""Keeps the keys and values of prompts that many texts follow, so that each prompt is computed once, for this call and later calls.

All prompts are computed at the first need, by one plan that depends on their ids, the memory limit and the model's bytes for a token, so that a
kept prompt has the same bytes whichever text came first. Under another limit they differ by rounding, which may change scores in 16-bit types;
in float32 `likelihood.settled` removes it. A prompt that does not fit in the limit is not kept, and is computed with each reading like any
other prompt.
Rows after different prompts stand side by side in a pass: token t of a row is in column t, as in the slots of generation, and masks are made
for each row's own positions (`masks`). A prompt's last hidden state predicts a text's first token, which needs no pass. Nothing is kept for
models that do not generate on slots. Of each model, the prompts of a single reader are kept at any time, so that the memory limit holds for a
job with several.

N rows, T positions, C columns, H key-value heads, E width of a head, D hidden, K tokens that are kept.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from transformers import Cache

from workers.lm.errors import OutOfMemory
from workers.lm.masks import rows_at
from workers.lm.memory import does_not_fit, free_memory, is_out_of_memory, room_for
from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import reading_tokens, spare_pads
from workers.lm.prefixes import PASS_COST, PASS_TOKENS, Pass, Segment, groups_of
from workers.lm.sharing import Forward, Inputs, KeysValues, plan_for, run_plan
from workers.lm.structure.recording import Passed

USUAL_ROOM = 512 << 20
"""Bytes for keys and values where a caller states none: those of the default setting (`memory.kept_bytes`)."""

Ids = tuple[int, ...]
_keeping: WeakKeyDictionary[nn.Module, "ref[KeptPrompts]"] = WeakKeyDictionary()  # the reader with kept prompts, by model


class KeptPrompts:
    """The kept prompts of one reader."""

    def __init__(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], *, room: int = USUAL_ROOM) -> None:
        """`room` is the largest number of bytes for keys and values."""
        self._lm = lm
        self._prompts = tuple(dict.fromkeys(map(tuple, prompts)))
        self._room = room
        self._kept: _Filled | None = None
        self._given_up = lm.layout.grouped

    def among(self, prompts: Sequence[Sequence[int]]) -> Mapping[Ids, Tensor]:
        """Returns the given prompts that are kept, each with its last token's final hidden state [D]. Raises ModelFault like
        `LanguageModel.check_ids`. If computing them runs out of memory, nothing is kept."""
        asked = set(map(tuple, prompts)).intersection(self._prompts)
        if asked and self._kept is None and not self._given_up:
            release_kept(self._lm)
            _keeping[self._lm.model] = ref(self)
            try:
                self._kept = self._computed()
            except OutOfMemory:
                self.forget()
        return {} if self._kept is None else {prompt: self._kept.last[prompt] for prompt in asked if prompt in self._kept.columns}

    def release(self) -> None:
        """Frees the memory until the prompts are needed again."""
        if self._kept is not None:
            self._kept = None
            free_memory()

    def forget(self) -> None:
        """Frees the memory permanently: later calls keep nothing."""
        self._kept, self._given_up = None, True
        free_memory()

    def run(
        self, chosen: Sequence[int], rows: Sequence[Sequence[int]], starts: Sequence[int], forward: Forward, *, most_rows: int
    ) -> None:
        """Calls `forward(pass_, inputs)` for passes over the `chosen` rows. Each row is computed from `starts` on; the tokens before that are a
        kept prompt. At most `most_rows` stand side by side. Raises OutOfMemory, and what `forward` raises."""
        segments = [Segment((row,), starts[row], len(rows[row])) for row in chosen]
        for group in groups_of(
            segments, most_rows=most_rows, pass_tokens=reading_tokens(self._lm), spare_pads=spare_pads(self._lm)
        ):
            try:
                self._pass(Pass(None, group), rows, forward)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                failure = str(error) or type(error).__name__
            else:
                continue
            raise OutOfMemory(does_not_fit(failure, f"A pass of {len(group)} rows"))

    def _pass(self, pass_: Pass, rows: Sequence[Sequence[int]], forward: Forward) -> None:
        assert self._kept is not None
        device, width = self._lm.device, pass_.width
        own = [rows[segment.rows[0]] for segment in pass_.segments]
        pairs = list(zip(own, pass_.segments, strict=True))
        ids = [list(row[s.start : s.stop]) + [self._lm.pad_id] * (width - len(s)) for row, s in pairs]
        before = [self._kept.columns[tuple(row[: s.start])] for row, s in pairs]
        starts_N1 = torch.tensor([[s.start] for s in pass_.segments], device=device)
        positions_NT = starts_N1 + torch.arange(width, device=device)
        # pads may lie past the context, where a model has no learned position and no bias
        cache = _RowsCache(self._kept.layers, before, positions_NT, self._lm.context_length)
        with rows_at(positions_NT):
            forward(
                pass_,
                {
                    "input_ids": torch.tensor(ids, device=device),
                    "position_ids": positions_NT.clamp(max=self._lm.context_length - 1),
                    "past_key_values": cache,
                    "use_cache": True,
                },
            )

    def _computed(self) -> "_Filled":
        for prompt in self._prompts:
            self._lm.check_ids(prompt)
        filling = _Filling(self._lm, self._prompts, self._room)
        room = room_for(self._lm)
        # a pass holds its keys and values at every layer until they are kept: no more of them than may be kept in all
        most = PASS_TOKENS if room is None else max(1, min(PASS_TOKENS, self._room // max(1, room.column)))
        # they are computed once, so memory counts and not another pass: what they share is kept once on a GPU, too
        plan = plan_for(replace(self._lm, pass_cost=PASS_COST), self._prompts, pass_tokens=most)
        with torch.no_grad(), suppress(_Full):
            run_plan(self._lm, plan, self._prompts, filling.forward, keeping=True)
        return filling.filled()


def release_kept(lm: LanguageModel) -> None:
    """Frees the memory of the reader of `lm` that keeps prompts, until that reader needs them again."""
    keeper = _keeping.pop(lm.model, lambda: None)()
    if keeper is not None:
        keeper.release()


class _Filled:
    """The kept tokens. `layers`: keys and values [K + 1, H, E] of all kept tokens, the last row zero. `columns`: the indices of each kept
    prompt's tokens in them. `last`: the final hidden state of each prompt's last token."""

    def __init__(self, layers: Mapping[int, KeysValues], columns: Mapping[Ids, list[int]], last: Mapping[Ids, Tensor]) -> None:
        self.layers, self.columns, self.last = layers, columns, last


class _Full(Exception):
    """Ends a plan at the memory limit: nothing of a later pass could be kept."""


class _Filling:
    """Collects the keys and values from the passes of a plan, each shared token once, until the memory limit is reached."""

    def __init__(self, lm: LanguageModel, prompts: Sequence[Ids], room: int) -> None:
        self._lm, self._prompts, self._room = lm, prompts, room
        self._parts: dict[int, list[KeysValues]] = {}
        self._columns: list[list[int]] = [[] for _ in prompts]
        self._last: dict[int, Tensor] = {}
        self._tokens = 0

    def forward(self, pass_: Pass, inputs: Inputs) -> None:
        """Runs one pass and collects the keys and values of each segment. Keeps nothing of a pass that runs out of memory, which is repeated.
        Raises _Full at the memory limit."""
        hidden_BTD = self._lm.layout.decoder(**inputs).last_hidden_state
        own: Mapping[int, KeysValues] = inputs["past_key_values"].own
        room, last, collected = self._room, dict[int, Tensor](), list[tuple[Segment, dict[int, KeysValues]]]()
        for number, segment in enumerate(pass_.segments):
            for row in segment.rows:
                if segment.stop == len(self._prompts[row]):
                    last[row] = hidden_BTD[number, len(segment) - 1].clone()
            views = {layer: [states[number, :, : len(segment)].transpose(0, 1) for states in pair] for layer, pair in own.items()}
            room -= sum(states.numel() * states.element_size() for pair in views.values() for states in pair)
            if room >= 0:
                collected.append((segment, {layer: (keys.clone(), values.clone()) for layer, (keys, values) in views.items()}))
        self._room = room
        self._last |= last
        for segment, taken in collected:
            for layer, states in taken.items():
                self._parts.setdefault(layer, []).append(states)
            for row in segment.rows:
                self._columns[row] += range(self._tokens, self._tokens + len(segment))
            self._tokens += len(segment)
        if self._room < 0:
            raise _Full

    def filled(self) -> _Filled:
        """The prompts with all tokens collected."""
        layers = {}
        for layer, parts in self._parts.items():
            keys, values = zip(*parts, strict=True)
            layers[layer] = _with_zero(keys), _with_zero(values)
            parts.clear()  # a layer's parts and its joined tensor coexist, but never those of all layers
        whole = [row for row, columns in enumerate(self._columns) if len(columns) == len(self._prompts[row])]
        return _Filled(
            layers,
            {self._prompts[row]: self._columns[row] for row in whole},
            {self._prompts[row]: self._last[row] for row in whole},
        )


def _with_zero(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([*parts, torch.zeros_like(parts[0][:1])])


class _RowsCache(Cache):  # type: ignore[misc]
    """The keys and values of rows that follow kept prompts, in the columns of `most` positions. A column beyond a row is zero, or holds a pad's
    values, which no token of the row attends to."""

    def __init__(
        self, layers: Mapping[int, KeysValues], before: Sequence[Sequence[int]], positions_NT: Tensor, most: int
    ) -> None:
        super().__init__(layers=[])
        self._layers, self._positions = layers, positions_NT
        columns = int(positions_NT.max()) + 1
        self._width = min(columns, most)
        zero = len(next(iter(layers.values()))[0]) - 1
        columns_NC = [list(indices) + [zero] * (columns - len(indices)) for indices in before]
        self._columns_NC = torch.tensor(columns_NC, device=positions_NT.device)
        self._rows_N1 = torch.arange(len(before), device=positions_NT.device)[:, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Passed, **_kwargs: Passed
    ) -> tuple[Tensor, Tensor]:
        """Called by the model's attention at each layer; returns the keys and values to attend to, [N, H, C, E]."""
        keys, values = self._layers[layer_idx]
        return self._joined(keys, key_states), self._joined(values, value_states)

    def _joined(self, kept: Tensor, states: Tensor) -> Tensor:
        joined_NCHE = kept[self._columns_NC]
        joined_NCHE[self._rows_N1, self._positions] = states.transpose(1, 2)
        return joined_NCHE[:, : self._width].transpose(1, 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Always 0, because rows differ in length: positions are given with each pass, and masks are made for them."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Always 0, as `get_seq_length`."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number of columns of the pass's masks, and the number of the first column."""
        return self._width, 0
