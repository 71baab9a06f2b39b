"""Records a batch's generation step once for each shape and replays it: on a GPU, one launch replaces about a thousand.

The host needs longer to describe a step than the device to compute it: at the 1.5B shape an H100 is busy for 6.5 ms of a step's 26 or more, with
1,180 kernels that are launched singly; recorded, a step takes 8.7 ms (tests/benchmarks). A CUDA graph holds kernels and addresses, and no
Python, so all inputs of a step lie in buffers that stay: the ids and columns of its rows, the additions of the hooks (`placed_actions`), and the
slots. Shapes are rounded up, rows to a 16th of the batch and columns to 64, so that few shapes are recorded; the surplus rows and columns do not
affect any other row.

A shape is recorded when it occurs the second time. The first time its pass runs normally, and torch is set to refuse operations that wait for
the device, because they cannot be recorded. A model with such an operation in its step is never recorded and keeps its normal speed.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn

from workers.lm.hooks import Action, Hooks
from workers.lm.interventions import Site
from workers.lm.masks import rows_at
from workers.lm.memory import free_memory, is_out_of_memory, is_sticky_device_error
from workers.lm.model import LanguageModel
from workers.lm.placed_actions import PlacedActions
from workers.lm.site_actions import SiteAction
from workers.lm.slots import SlotCache

COLUMNS = 64
SHARES = 16

T = TypeVar("T")
log = logging.getLogger(__name__)
_never: WeakSet[nn.Module] = WeakSet()  # models with steps that cannot be recorded


class Recorder(Protocol):
    """Records work and makes it replayable. `record(work)` calls `work` and returns its result and a function that repeats the work into the
    same tensors. Until that function is called, the tensors hold nothing. Within `watching()`, operations that cannot be recorded raise
    RuntimeError."""

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]: ...

    def watching(self) -> AbstractContextManager[None]: ...


class CudaRecorder:
    """CUDA graphs that share their memory: they never run at the same time, and the result of a graph is read before the next graph runs."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """Captures the work as a CUDA graph; as `Recorder` says."""
        with _own_workspaces():
            return self._record(work)

    def _record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        now = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):  # not torch.cuda.graph: it empties the allocator's cache each time
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                made = work()
            except BaseException:
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        now.wait_stream(self._stream)
        return made, graph.replay

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block, work that waits for the device raises RuntimeError: a graph cannot hold it."""
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _own_workspaces() -> Iterator[None]:
    """Within the block, matrix products take their workspace from the graph's memory and not from the process's pool. Otherwise 32 MiB of each
    graph's memory would stay allocated on an H100 after the graph is deleted."""
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def recorder_for(lm: LanguageModel) -> Recorder | None:
    """The recorder for a model; None where steps are not recorded: not requested, no CUDA device, or a model that cannot be recorded."""
    wanted = lm.record_steps and lm.device.type == "cuda" and lm.model not in _never
    return CudaRecorder(lm.device) if wanted else None


def one_token(lm: LanguageModel, cache: SlotCache, tokens_B: Tensor, pos_B: Tensor, width: int) -> Tensor:
    """Logits [B, V] after one more token of the rows of slots 0..B-1, at their columns `pos_B`, all below `width`."""
    cache.stepping(pos_B, width)
    with rows_at(pos_B[:, None]):
        logits: Tensor = lm.model(
            input_ids=tokens_B[:, None], position_ids=pos_B[:, None], past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits
    return logits[:, -1]


@dataclass
class _Step:
    """A recorded shape: its output, and the hooks' records from the recording."""

    replay: Callable[[], None]
    logits_BV: Tensor
    change_B: Tensor | None
    fired: frozenset[Site]


class RecordedSteps:
    """The recorded steps of one batch. They are freed with the batch."""

    def __init__(self, lm: LanguageModel, cache: SlotCache, hooks: Hooks, recorder: Recorder) -> None:
        self._lm, self._cache, self._hooks, self._recorder = lm, cache, hooks, recorder
        self._given_2S = torch.zeros(2, cache.slots, dtype=torch.long, device=lm.device)
        self._actions = PlacedActions(cache.slots)
        self._views: dict[int, Mapping[Site, Action]] = {}
        self._steps: dict[tuple[int, int], _Step | None] = {}  # None: the shape occurred once
        self._short = False

    def place(self, actions: Mapping[Site, SiteAction], rows: int) -> Mapping[Site, Action]:
        """The actions for the hooks in steps of `rows` rows with these actions."""
        if self._actions.take(actions):
            self._steps, self._views = {}, {}
        padded = self._padded(rows)
        if padded not in self._views:
            self._views[padded] = dict(self._actions.of(padded))
        return self._views[padded]

    def logits(self, tokens: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Logits [B, V] after one more token of each row, in a tensor that the next step overwrites. The hooks' records are those of this step,
        with surplus rows at the end."""
        rows, width = self._padded(len(tokens)), min(_up(max(columns) + 1, COLUMNS), self._cache.columns)
        spare = [0] * (rows - len(tokens))
        self._given_2S[:, :rows] = torch.tensor([[*tokens, *spare], [*columns, *spare]]).to(self._lm.device)
        return self._logits(rows, width)[: len(tokens)]

    def _logits(self, rows: int, width: int) -> Tensor:
        shape = rows, width
        if self._short or self._lm.model in _never:
            return self._pass(rows, width)
        if shape not in self._steps:
            self._steps[shape] = None
            return self._tried(self._watched, rows, width)
        step = self._steps[shape]
        if step is None:
            return self._tried(self._record, rows, width)
        self._cache.stepping(self._given_2S[1, :rows], width)
        step.replay()
        self._hooks.fired = set(step.fired)
        self._hooks.changes = [] if step.change_B is None else [step.change_B]
        return step.logits_BV

    def _pass(self, rows: int, width: int) -> Tensor:
        tokens_B, pos_B = self._given_2S[:, :rows]
        return one_token(self._lm, self._cache, tokens_B, pos_B, width)

    def _watched(self, rows: int, width: int) -> Tensor:
        with self._recorder.watching():
            return self._pass(rows, width)

    def _record(self, rows: int, width: int) -> Tensor:
        def work() -> tuple[Tensor, Tensor | None]:
            return self._pass(rows, width), self._hooks.change()

        (logits_BV, change_B), replay = self._recorder.record(work)
        step = self._steps[rows, width] = _Step(replay, logits_BV, change_B, frozenset(self._hooks.fired))
        step.replay()
        self._hooks.changes = [] if change_B is None else [change_B]
        return logits_BV

    def _tried(self, work: Callable[[int, int], Tensor], rows: int, width: int) -> Tensor:
        """Returns `work(rows, width)`, or the result of a normal pass if this model, or this batch in this memory, turns out not to be
        recordable."""
        try:
            return work(rows, width)
        except (RuntimeError, NotImplementedError) as error:
            if is_sticky_device_error(error) or (is_out_of_memory(error) and work == self._watched):
                raise  # a pass that does not fit is handled by halving the batch (`steered`)
            if is_out_of_memory(error):
                self._short = True  # a recorded pass needs its own memory in addition to that of the others
            else:
                _never.add(self._lm.model)
            log.warning("The steps of %s are not recorded: %s", type(self._lm.model).__name__, error)
            traceback.clear_frames(error.__traceback__)  # its frames keep the tensors that filled the memory alive
        self._steps = {}
        self._hooks.fired, self._hooks.changes = set(), []
        free_memory()
        return self._pass(rows, width)

    def _padded(self, rows: int) -> int:
        slots = self._cache.slots
        return min(slots, _up(rows, -(-slots // SHARES)))


def _up(number: int, unit: int) -> int:
    """Rounds `number` up to a multiple of `unit`."""
    return -(-number // unit) * unit
