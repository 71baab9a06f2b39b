"""Runs a plan of shared prefixes (`prefixes`): each pass is computed once, in the plan's shape, after the stored keys and values of its prefix.

B segments of a pass, T tokens, P tokens before them, H key-value heads, E width of a head. At any time, only the keys and values along one path
are stored, for one row and up to the deepest layer that runs, since the passes are in the tree's order. Window layers keep all of their tokens,
and the model's own masks cut the window. While a layer runs, a pass's keys and values are in memory together with those of its prefix. When
memory runs out the pass is tried once more, in the same shape, after free memory was collected. Does not depend on what the passes are used for.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NotRequired, TypedDict

import torch
from torch import Tensor
from transformers import Cache

from workers.lm.capture import Enough, reading_once
from workers.lm.memory import does_not_fit, with_second_try
from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import pass_cost, reading_tokens, spare_pads
from workers.lm.prefixes import Pass, Plan, plan_of
from workers.lm.structure.recording import Passed

KeysValues = tuple[Tensor, Tensor]


class Inputs(TypedDict):
    """The arguments of a call of the decoder: ids and positions [B, T], and the cache where a prefix was computed before."""

    input_ids: Tensor
    use_cache: bool
    position_ids: NotRequired[Tensor]
    past_key_values: NotRequired[Cache]


Forward = Callable[[Pass, Inputs], None]


def plan_for(lm: LanguageModel, rows: Sequence[Sequence[int]], pass_tokens: int | None = None) -> Plan:
    """The plan of these rows on this model's device; `pass_tokens`: the most of a pass with several rows, as `reading_tokens` by default.
    Nothing is shared where a layer keeps state other than keys and values, because it cannot be split."""
    return plan_of(
        rows,
        shared=not lm.layout.grouped,
        pass_tokens=pass_tokens or reading_tokens(lm),
        pass_cost=pass_cost(lm),
        spare_pads=spare_pads(lm),
    )


def run_plan(lm: LanguageModel, plan: Plan, rows: Sequence[Sequence[int]], forward: Forward, *, keeping: bool = False) -> None:
    """Calls `forward(pass_, inputs)` for every pass in order; `forward` runs `lm.layout.decoder(**inputs)`, as far as needed, and reads the
    result. With `keeping`, the pass's own keys and values are then in `inputs["past_key_values"].own`, even those that the plan does not keep.

    A call that ran out of memory is repeated once, so `forward` keeps what it read only when the whole pass has run. Raises OutOfMemory when
    a pass does not fit, and what `forward` raises.
    """
    path: list[tuple[int, dict[int, KeysValues]]] = []
    for number, pass_ in enumerate(plan.passes):
        while path and path[-1][0] != pass_.after:
            path.pop()
        before = [kept for _, kept in path]
        kept = _computed(lm, pass_, rows, before, forward, keeping or pass_.kept)
        if pass_.kept:
            path.append((number, kept))


def _computed(
    lm: LanguageModel,
    pass_: Pass,
    rows: Sequence[Sequence[int]],
    before: Sequence[Mapping[int, KeysValues]],
    forward: Forward,
    keeping: bool,
) -> dict[int, KeysValues]:
    def computed() -> dict[int, KeysValues]:
        cache = PathCache(pass_.start, before, keeping=keeping)
        forward(pass_, _inputs(lm, pass_, rows, cache if pass_.after is not None or keeping else None))
        return cache.own

    what = f"A pass of {len(pass_.segments)} x {pass_.width} tokens"
    return with_second_try(computed, lambda failure: does_not_fit(failure, what))


def _inputs(lm: LanguageModel, pass_: Pass, rows: Sequence[Sequence[int]], cache: "PathCache | None") -> Inputs:
    """Ids [B, T], padded on the right. No real token attends to a later pad, so no padding mask is needed."""
    ids = [list(rows[segment.rows[0]][segment.start : segment.stop]) for segment in pass_.segments]
    ids_BT = torch.tensor([row + [lm.pad_id] * (pass_.width - len(row)) for row in ids], device=lm.device)
    if cache is None:
        return {"input_ids": ids_BT, "use_cache": False}
    positions_1T = torch.arange(pass_.start, pass_.start + pass_.width, device=lm.device)[None]
    return {"input_ids": ids_BT, "position_ids": positions_1T, "past_key_values": cache, "use_cache": True}


def fill(lm: LanguageModel, inputs: Inputs, deepest: int) -> None:
    """Runs a pass that later passes follow and that nothing else is read of: as far as the keys and values of block `deepest`. That block's
    attention and MLP are not computed, unless it takes its keys and values from an earlier block."""
    cache = inputs["past_key_values"]
    assert isinstance(cache, PathCache)
    cache.deepest = deepest
    with reading_once(lm, {"residual": lambda *_: None}, [deepest]), torch.no_grad():
        lm.layout.decoder(**inputs)


class PathCache(Cache):  # type: ignore[misc]
    """The keys and values [1, H, P, E] of the prefix of a pass, as the passes `before` computed them one after another. `own` are those of the
    pass itself, by layer, if `keeping` is set. The pass ends once those of block `deepest` are there."""

    def __init__(self, length: int, before: Sequence[Mapping[int, KeysValues]], *, keeping: bool) -> None:
        super().__init__(layers=[])
        self._length, self._before, self._keeping = length, before, keeping
        self.own: dict[int, KeysValues] = {}
        self.deepest: int | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: Passed, **_kwargs: Passed
    ) -> tuple[Tensor, Tensor]:
        """Called by the model's attention at each layer; returns the keys and values to attend to."""
        if self._keeping:
            self.own[layer_idx] = key_states, value_states
        if layer_idx == self.deepest:
            raise Enough
        rows = key_states.shape[0]
        parts = [kept[layer_idx] for kept in self._before]
        keys = torch.cat([*(k.expand(rows, -1, -1, -1) for k, _ in parts), key_states], dim=2)
        values = torch.cat([*(v.expand(rows, -1, -1, -1) for _, v in parts), value_states], dim=2)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of tokens before the pass, which every row shares."""
        return self._length

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """The position of the pass's first token."""
        return self._length

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number of columns of the pass's masks, and the number of the first column."""
        return self._length + query_length, 0
