"""Makes attention masks by the model's own rule for rows at different positions.

A model calls the library's mask functions, and each describes a rule (a function of row, head, query and key position) and passes it to the mask
maker of the attention implementation. Within `rows_at` that maker applies the rule at each row's own positions. So the model's class
decides which rule acts at which layer: a config entry that the class does not read has no effect here either.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from workers.lm.structure.recording import Passed

Made = TypeVar("Made")
_positions: ContextVar[Tensor | None] = ContextVar("positions", default=None)
_generating: ContextVar[bool] = ContextVar("generating", default=False)


@contextmanager
def rows_at(positions_NT: Tensor) -> Iterator[None]:
    """Within the block, masks of a pass of N rows (N = 1: the same positions for all rows) are made for the given positions."""
    token = _positions.set(positions_NT)
    try:
        yield
    finally:
        _positions.reset(token)


@contextmanager
def library_pass() -> Iterator[None]:
    """Within the block, passes belong to the generation engine and use the masks that the library makes for its own cache."""
    token = _generating.set(True)
    try:
        yield
    finally:
        _generating.reset(token)


def in_engine() -> bool:
    """Whether the current pass belongs to the generation engine."""
    return _positions.get() is not None or _generating.get()


def _wrapped(library_maker: Callable[..., Made]) -> Callable[..., Made | Tensor]:
    def maker(*args: Passed, **kwargs: Any) -> Made | Tensor:
        positions_NT = _positions.get()
        return library_maker(*args, **kwargs) if positions_NT is None else _additive(positions_NT, **kwargs)

    return maker


def _additive(
    positions_NT: Tensor, *, mask_function: Callable[..., Tensor], kv_length: int, dtype: torch.dtype = torch.float32, **_: object
) -> Tensor:
    """The mask [N, 1, T, C] that every attention implementation accepts: 0 where a position attends, the dtype's lowest value elsewhere."""
    device = positions_NT.device
    row_N111 = torch.arange(positions_NT.shape[0], device=device)[:, None, None, None]
    column_C = torch.arange(kv_length, device=device)
    seen_N1TC = mask_function(row_N111, torch.zeros_like(row_N111), positions_NT[:, None, :, None], column_C)
    seen_N1TC = seen_N1TC.expand(-1, -1, -1, kv_length)
    mask = torch.zeros(seen_N1TC.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~seen_N1TC, torch.finfo(dtype).min)


for _name in ("eager", "sdpa"):
    ALL_MASK_ATTENTION_FUNCTIONS[_name] = _wrapped(ALL_MASK_ATTENTION_FUNCTIONS[_name])
