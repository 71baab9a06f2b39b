"""A stand-in for CUDA graphs on a CPU: it records the tensor operations of a step and replays them on the same tensors; as with a graph, no
Python code of the step runs again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")
WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.item")
"""Operations that wait for the device, which a CUDA graph cannot record."""


class _Seen(TorchDispatchMode):
    """Keeps each operation with its arguments and its result; raises at an operation that waits for the device."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self._keep = keep

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(WAITS):
            raise RuntimeError(f"{func} waits for the device")
        made = func(*args, **(kwargs or {}))
        if self._keep:
            self.calls.append((func, args, kwargs or {}, made))
        return made


class ReplayingRecorder:
    """Has the interface of the recorder of CUDA graphs, and counts the recorded steps and the replays."""

    def __init__(self) -> None:
        self.recorded = self.replays = 0

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        seen = _Seen(keep=True)
        with seen:
            made = work()
        self.recorded += 1
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                tensor.fill_(float("nan"))  # as a graph's outputs, it holds nothing before the first replay
        return made, lambda: self._replay(seen.calls)

    def _replay(self, calls: list[tuple[Any, Any, Any, Any]]) -> None:
        self.replays += 1
        for func, args, kwargs, made in calls:
            fresh = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(fresh), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)

    @contextmanager
    def watching(self) -> Iterator[None]:
        with _Seen(keep=False):
            yield
