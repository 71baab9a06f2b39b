"""Measures the memory that generation needs besides the weights, by running the model on the meta device, where tensors have shapes but no
memory.

The bytes alive at the same time are counted at a few sizes, and the numbers of `terms.room.Room` are the smallest that predict at least these
bytes at every size. So caches of hybrids, buffers of experts, masks and logits of any model are counted without a formula for its family. The
kernels' own workspace is not counted; on a CPU it is less than a fifth (tests/families/test_room.py measures it in a separate process).

N rows, T positions, L layers.
"""

import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache, PreTrainedModel

from terms.room import WIDTHS, Engine, Room, Rooms
from workers.lm.checkpoint import open_model, quiet, read_config
from workers.lm.facts import ModelFacts
from workers.lm.masks import library_pass, rows_at
from workers.lm.slots import SlotCache
from workers.lm.structure.decoders import described, find_decoder
from workers.lm.structure.recording import Args, Named, Passed
from workers.lm.structure.twin import cache_argument, positions_argument

Made = TypeVar("Made")
LOGITS = 3
"""Number of copies of a step's logits in memory at the same time: the model's, the float32 copy, and the copy for sorting."""
SIZES = {"slots": ((1, 15), (1, 511), (4, 511), (1, 8191), (1, 65_535))}
SHORT_SIZES = ((1, 15), (2, 129), (2, 257), (1, 513))
"""Rows and tokens that are counted, as far as the context allows. Recurrent layers run in a loop, so these sizes are smaller; they are just
above the size of some chunks, to which such layers pad."""
ALIGNED = 8
"""Fused attention copies a mask unless its rows have a multiple of this many elements, because it loads rows at aligned addresses."""
Counting = tuple[type[PreTrainedModel], str, str, torch.dtype, int]
"""The inputs from which a model's numbers follow: its class, its config, the engine, the dtype of its weights, its context."""
_known: dict[Counting, Room | None] = {}


@dataclass(frozen=True)
class Counted:
    """Bytes of a pass of `rows` x `tokens` and of one step after it: kept after the pass, and at the peak of each in addition to the kept
    bytes."""

    rows: int
    tokens: int
    kept: int
    ahead: int
    step: int


def room_of(model: PreTrainedModel, engine: Engine, dtype: torch.dtype, context_length: int) -> Room | None:
    """The memory numbers of this model and engine; None where the model cannot be run without values. `model` may be on any device, and is not
    run."""
    key = type(model), described(model.config), engine, dtype, context_length
    if key not in _known:
        try:
            _known[key] = _room(engine, counted(model, engine, dtype, context_length))
        except Exception:  # a model's class may raise any exception without values; the inspection must not fail over a forecast
            _known[key] = None
    return _known[key]


def rooms(folder: Path, facts: ModelFacts) -> Rooms | None:
    """The memory numbers of an inspected model for each dtype in which it may be loaded; None where they cannot be counted."""
    model = open_model(folder, read_config(folder), dtype="auto", meta=True)
    engine = facts.structure["engine"] if facts.structure else "slots"
    dtypes = {4: torch.float32, 2: torch.bfloat16}
    by_width = {width: room_of(model, engine, dtype, facts.context_length) for width, dtype in dtypes.items()}
    return {name: room.to_dict() for name, width in WIDTHS.items() if (room := by_width[width]) is not None} or None


def _room(engine: Engine, counts: Sequence[Counted]) -> Room:
    """The smallest numbers that never predict less than the counted bytes."""
    kept = _least([(c.rows, c.rows * c.tokens) for c in counts], [c.kept for c in counts])
    shared = engine == "slots"  # one mask for all rows of a pass; other engines may pad each row to a whole chunk
    ahead = _least(
        [(c.rows * (not shared), c.rows * c.tokens, c.rows * c.tokens**2, c.tokens**2 * shared) for c in counts],
        [c.ahead for c in counts],
    )
    step = _least([(c.rows, c.rows * c.tokens) for c in counts], [c.step for c in counts])
    return Room(engine, *kept, *ahead, *step)


def _least(terms: Sequence[tuple[int, ...]], bytes_: Sequence[int]) -> list[int]:
    """Factors of the terms for which every sum is at least its bytes, and all sums together exceed the bytes as little as possible."""
    y = np.maximum(np.array(bytes_, float), 1.0)
    a = np.array(terms, float) / y[:, None]
    scale = np.maximum(a.max(0), np.finfo(float).tiny)
    solution = linprog((a / scale).sum(0), A_ub=-a / scale, b_ub=-np.ones(len(y)), bounds=(0, None))
    return [int(np.ceil(factor)) for factor in solution.x / scale]


def counted(
    model: PreTrainedModel, engine: str, dtype: torch.dtype, context_length: int, sizes: Sequence[tuple[int, int]] | None = None
) -> list[Counted]:
    """Counts the bytes of passes of `sizes` (rows, tokens); by default, the sizes from which the memory numbers are derived."""
    asked = SIZES.get(engine, SHORT_SIZES) if sizes is None else sizes
    with quiet(), torch.device("meta"):
        twin: nn.Module = type(model)(model.config).to(dtype).eval()  # type: ignore[arg-type]
        within = {(rows, min(tokens, context_length - 1)) for rows, tokens in asked}
        with torch.no_grad(), _Fused():
            return [_ahead_and_step(twin, engine, *size) for size in sorted(within)]


def _ahead_and_step(model: nn.Module, engine: str, rows: int, tokens: int) -> Counted:
    """Counts a pass over prompts and a step, run as in `refilling` and `grouped`. Where each step computes whole rows, a step equals this
    pass."""
    decoder = find_decoder(model)
    ids = torch.zeros(rows, tokens, dtype=torch.long)
    alive = _Alive(model)
    step: Named
    stepping: AbstractContextManager[None]
    if engine == "slots":
        cache = _slots(decoder, rows, tokens)
        positions_1T, positions_N1 = torch.arange(tokens)[None], torch.full((rows, 1), tokens - 1)
        with alive, rows_at(positions_1T):
            decoder(input_ids=ids, use_cache=True, position_ids=positions_1T, past_key_values=cache)
        cache.stepping(positions_N1[:, 0], tokens)
        step, stepping = {"position_ids": positions_N1, "past_key_values": cache}, rows_at(positions_N1)
    else:
        own = {cache_argument(decoder): DynamicCache(config=decoder.config)}
        given, step = (own | positions_argument(decoder, *at) for at in ((0, tokens), (tokens, 1)))
        with alive, library_pass():
            decoder(input_ids=ids, use_cache=True, **given)
        stepping = library_pass()
    kept, ahead = alive.now, alive.peak_until_now()
    with alive, stepping:
        _last_logits(model, ids[:, :1], use_cache=True, **step)
    return Counted(rows, tokens, kept, max(0, ahead - kept), max(0, alive.peak_until_now() - kept))


def _slots(decoder: nn.Module, rows: int, tokens: int) -> SlotCache:
    """The cache of slots for a pass over prompts."""
    cache = SlotCache(rows, tokens)
    n_layers: int = decoder.config.get_text_config().num_hidden_layers  # type: ignore[union-attr,operator,assignment]
    cache.prefilling(range(rows), [tokens] * rows, torch.ones(rows, tokens, dtype=torch.bool), [None] * n_layers)
    return cache


def _last_logits(model: nn.Module, ids: Tensor, **given: Passed) -> None:
    logits = model(input_ids=ids, logits_to_keep=1, **given).logits
    held = [logits.float().clone() for _ in range(LOGITS - 1)]
    del held


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive, except for the model's own tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self.now: int = 0
        self._sizes = {held.untyped_storage()._cdata: 0 for held in (*model.parameters(), *model.buffers())}

    def __torch_dispatch__(
        self, func: Callable[..., Made], _types: Sequence[type], args: Args = (), kwargs: Named | None = None
    ) -> Made:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                storage = tensor.untyped_storage()
                if storage._cdata not in self._sizes:
                    self._sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._gone, storage._cdata)
        return made

    def peak_until_now(self) -> int:
        """Returns the peak since the last call, in bytes, and restarts the measurement."""
        peak, self.peak = self.peak, self.now
        return peak

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key, 0)


class _Fused(TorchFunctionMode):
    """Stands in for kernels that allocate only their output: fused attention keeps no scores, but the meta device would run kernels that do."""

    def __torch_function__(
        self, func: Callable[..., Made], _types: Sequence[type], args: Args = (), kwargs: Named | None = None
    ) -> Made | Tensor:
        if func is torch.nn.functional.scaled_dot_product_attention:
            names = ("query", "key", "value", "attn_mask")
            query, _, value, mask = (*args, *((kwargs or {}).get(name) for name in names[len(args) :]))[:4]
            assert isinstance(query, Tensor)
            assert isinstance(value, Tensor)
            if isinstance(mask, Tensor) and mask.shape[-1] % ALIGNED:
                mask.new_empty(mask.shape)
            if query.shape[-1] == value.shape[-1]:  # heads with two different widths have no fused kernel on some devices
                return query.new_empty(*query.shape[:-1], value.shape[-1])
        if getattr(func, "__name__", "") in ("grouped_mm", "_grouped_mm"):
            left, right = args[:2]
            assert isinstance(left, Tensor)
            assert isinstance(right, Tensor)
            return left.new_empty(left.shape[0], right.shape[-1])
        return func(*args, **(kwargs or {}))
