"""Batches are sized to memory; a batch that runs out of memory is halved, and one row that does not fit is refused with the numbers."""

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ml.tiny_models import ARCHITECTURES, VOCAB
from workers.lm.errors import OutOfMemory
from workers.lm.memory import (
    MAX_ROWS,
    batch_rows_for,
    bytes_needed,
    is_out_of_memory,
    is_sticky_device_error,
    planned_bytes,
    with_halving,
)
from workers.lm.model import LanguageModel

ALLOCATOR = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."
OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError(ALLOCATOR),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]


def test_the_cpu_allocators_real_error_is_recognised() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)
    assert not is_sticky_device_error(error.value)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_every_error_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_sticky_device_error(error)


def test_other_errors_are_not_out_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA error: unspecified launch failure",
    ],
)
def test_errors_that_lose_the_device_are_sticky(text: str) -> None:
    assert is_sticky_device_error(RuntimeError(text))
    assert is_sticky_device_error(torch.AcceleratorError(text, 1) if hasattr(torch, "AcceleratorError") else RuntimeError(text))
    assert not is_sticky_device_error(ValueError(text))


@settings(max_examples=25, deadline=None)  # each out-of-memory collects all garbage: slow in a large process
@given(
    items=st.lists(st.integers(), max_size=30),
    rows=st.integers(1, 40),
    fits=st.integers(1, 40),
    error=st.sampled_from(OUT_OF_MEMORY),
)
def test_halving_gives_every_result_once_and_in_order(items: list[int], rows: int, fits: int, error: Exception) -> None:
    sizes: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        if len(batch) > fits:
            raise error
        sizes.append(len(batch))
        return [item + 1 for item in batch]

    assert with_halving(run, items, rows) == [item + 1 for item in items]
    assert sum(sizes) == len(items)
    assert max(sizes, default=1) <= min(rows, fits)


def test_halving_continues_after_the_last_completed_batch() -> None:
    tried: list[list[int]] = []
    halved: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(list(batch))
        if 5 in batch and len(batch) > 2:
            raise MemoryError
        return list(batch)

    assert with_halving(run, list(range(8)), 4, on_halved=halved.append) == list(range(8))
    assert tried == [[0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [6, 7]]
    assert halved == [2]


def test_one_row_that_does_not_fit_is_refused_with_the_needed_and_the_free_memory() -> None:
    def run(_batch: Sequence[int]) -> list[int]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(OutOfMemory, match=r"out_of_memory: One row alone .*2\.00 GiB more was needed, [\d,]+ MiB is free"):
        with_halving(run, [1, 2, 3], 2)


def test_the_tensors_of_a_failed_batch_are_freed_before_the_next_try() -> None:
    """Else the failed batch's tensors, held by the error's traceback, would make the halved batch fail too. `errors` keeps the
    errors themselves, as a log might."""
    errors = [RuntimeError(ALLOCATOR), RuntimeError(ALLOCATOR)]
    raised = iter(errors)
    held: list[weakref.ref[torch.Tensor]] = []

    def run(batch: Sequence[int]) -> list[int]:
        assert all(ref() is None for ref in held)
        block = torch.zeros(10)
        held.append(weakref.ref(block))
        if len(batch) > 1:
            raise next(raised)
        return list(batch)

    gc.disable()  # with_halving itself must collect
    try:
        assert with_halving(run, [1, 2, 3, 4], 4) == [1, 2, 3, 4]
    finally:
        gc.enable()
    assert len(held) == 2 + 4


def test_other_errors_pass_through_at_once() -> None:
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        with_halving(run, [1, 2, 3, 4], 4)
    assert tried == [4]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_prediction_covers_the_cache_and_logits_of_a_row(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    """Compared with the bytes of the cache the model itself fills, and of the logits."""
    lm = tiny_lm(arch)
    prompt, new = 30, 20
    with torch.no_grad():
        cache = lm.model(input_ids=torch.full((1, prompt + new), 50), use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers) + 4 * VOCAB
    assert kept <= (bytes_needed(lm, 1, prompt, new) or 0) < 40 * kept


def test_rows_grow_with_the_budget_between_one_and_the_cap(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")
    five = planned_bytes(lm, 5, 30, 20) or 0
    assert [batch_rows_for(lm, 30, 20, budget) for budget in (0, five - 1, five)] == [1, 4, 5]
    assert batch_rows_for(lm, 30, 20, 10**15) == MAX_ROWS
    needed = [bytes_needed(lm, 1, prompt, new) or 0 for prompt, new in ((30, 10), (30, 20), (60, 20))]
    assert needed == sorted(set(needed))
    assert (bytes_needed(tiny_lm("llama", dtype="bfloat16"), 1, 30, 20) or 0) < needed[1]
