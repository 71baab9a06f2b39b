"""The key-value cache of a batch with changing rows: each row has its own slot, and token t is in column t.

N rows computed in a pass, H key-value heads, T positions, C columns, E width of a head. Because every row starts at column 0, rows of any
lengths stand side by side without padding, an ended row is overwritten by another, and no column is shifted. A slot is zero beyond its row's
length: a masked column is still multiplied (by zero), and a row that overflowed must not leave an infinity there for the next. The buffers never
move or grow, as a captured CUDA graph requires.
"""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor
from transformers import Cache

from workers.lm.structure.recording import Passed

COPIED_TOKENS = 2048
"""About the most tokens of which keys and values are copied to slots at once; many rows may have those of one computed row."""


class SlotCache(Cache):  # type: ignore[misc]
    """A cache for `slots` rows of at most `columns` tokens. Describe the next pass with `prefilling` or `stepping`, then run the model."""

    def __init__(self, slots: int, columns: int) -> None:
        super().__init__(layers=[])
        self.slots, self.columns = slots, columns
        self._stores: list[tuple[Tensor, Tensor]] = []
        self._used = [0] * slots  # number of columns that were ever written
        self._into: Tensor | None = None
        self._stale = 0
        self._real: Tensor | None = None
        self._from: Sequence[Tensor | None] = ()
        self._start = 0
        self._before: Sequence[Tensor] = ()
        self._pos = torch.zeros(0, dtype=torch.long)
        self._rows = torch.zeros(0, dtype=torch.long)
        self._width = 0

    def prefilling(
        self,
        slots: Sequence[int],
        lengths: Sequence[int],
        real_NT: Tensor,
        from_L: Sequence[Tensor | None],
        start: int = 0,
        before_L: Sequence[Tensor] = (),
    ) -> None:
        """The next pass computes `lengths` tokens of the rows of `slots`, from column `start` on. `real_NT` marks the positions that belong to
        a row; at layer l row i is computed as row `from_L[l][i]` of the pass (None: as row i). With a `start`, the slots `before_L[l]` hold the
        earlier tokens of the pass's rows at layer l."""
        self._stale = max(self._used[slot] for slot in slots)
        for slot, length in zip(slots, lengths, strict=True):
            self._used[slot] = start + length
        self._into = torch.tensor(slots, device=real_NT.device)
        self._real, self._from = real_NT, from_L
        self._start, self._before = start, before_L

    def stepping(self, pos_N: Tensor, longest: int) -> None:
        """The next pass computes one token of each of slots 0..N-1, at columns `pos_N`, all below `longest`."""
        self._into = None
        self._pos, self._width = pos_N, longest
        self._rows = torch.arange(len(pos_N), device=pos_N.device)
        self._used[: len(pos_N)] = [max(used, longest) for used in self._used[: len(pos_N)]]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Passed, **_kwargs: Passed
    ) -> tuple[Tensor, Tensor]:
        """Called by the model's attention at each layer: stores the new keys and values and returns those to attend to."""
        self._make_room(layer_idx, key_states, value_states)
        if self._into is not None:
            stores = self._stores[layer_idx]
            for store, states in zip(stores, (key_states, value_states), strict=True):
                self._fill(store, states, self._from[layer_idx])
            if not self._start:
                return key_states, value_states
            before_keys, before_values = (store[self._before[layer_idx], :, : self._start] for store in stores)
            return torch.cat([before_keys, key_states], dim=2), torch.cat([before_values, value_states], dim=2)
        keys, values = self._stores[layer_idx]
        keys[self._rows, :, self._pos] = key_states[:, :, 0]
        values[self._rows, :, self._pos] = value_states[:, :, 0]
        n = len(self._rows)
        return keys[:n, :, : self._width], values[:n, :, : self._width]

    def _other_state(self, *_args: Passed, **_kwargs: Passed) -> NoReturn:
        raise TypeError("a layer keeps state other than keys and values, for which slots have no columns")

    get_conv_state = get_recurrent_state = update_conv_state = update_recurrent_state = _other_state
    has_previous_state = update_indexer = _other_state

    def clear(self, slots: Sequence[int]) -> None:
        """Sets the slots to zero, for rows without a computed prefix."""
        width = max(self._used[slot] for slot in slots)
        for store in (store for pair in self._stores for store in pair):
            store[torch.tensor(slots, device=store.device), :, :width] = 0

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copies the rows of some slots over others; the sources are then free. A slot may not be both source and target."""
        width = max(self._used[slot] for slot in (*sources, *targets))
        for store in (store for pair in self._stores for store in pair):
            source, target = (torch.tensor(slots, device=store.device) for slots in (sources, targets))
            store[target, :, :width] = store[source, :, :width]
        for source_slot, target_slot in zip(sources, targets, strict=True):
            self._used[target_slot] = self._used[source_slot]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Always 0, because rows differ in length: positions are given with each pass, and masks are made for them (`masks`)."""
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Always 0, as `get_seq_length`."""
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number of columns of the next pass's masks, and the number of the first column."""
        return (self._start + query_length if self._into is not None else self._width), 0

    def _fill(self, store: Tensor, states: Tensor, origin: Tensor | None) -> None:
        assert self._into is not None
        assert self._real is not None
        stop = self._start + self._real.shape[1]
        at_once = max(1, COPIED_TOKENS // self._real.shape[1])
        for some in (slice(first, first + at_once) for first in range(0, len(self._into), at_once)):
            made = states[some if origin is None else origin[some]]
            store[self._into[some], :, self._start : stop] = made.masked_fill(~self._real[some][:, None, :, None], 0)
        if self._stale > stop:
            store[self._into, :, stop : self._stale] = 0

    def _make_room(self, layer_idx: int, *states: Tensor) -> None:
        while len(self._stores) <= layer_idx:
            made = [s.new_zeros(self.slots, s.shape[1], self.columns, s.shape[3]) for s in states]
            self._stores.append((made[0], made[1]))
