"""Estimates how many rows fit in memory, and retries with smaller batches when memory runs out.

The estimate decides the batch plan. It comes from settings, never from the memory that happens to be free, so that a plan can be repeated. A
batch that failed is halved; finished rows are kept.
"""

import gc
import math
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from terms.room import Room, room_in
from workers.host import host_bytes
from workers.lm.errors import OutOfMemory
from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import pass_tokens
from workers.lm.room import room_of

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_ROWS = 256
SPARE = 1.1
"""Factor on a batch's estimated memory, for gaps in the allocator's blocks and for the kernels' own workspace."""
KEPT_PART = 4
"""A judge keeps the keys and values of its prompts in at most a quarter of a job's memory, and batches beside it are planned for the rest.

Of the default 2 GiB that is 512 MiB: 11,650 tokens of SmolLM2-135M in float32 (2 x 30 layers x 3 heads x 64 x 4 bytes = 46,080 bytes a token),
or 4,096 of Llama-3.1-8B in bfloat16 (2 x 32 x 8 x 128 x 2 = 131,072). A judge has 32 prompts, with their shared beginnings stored once: those
of the shipped traits are 570 to 800 tokens with SmolLM2's tokenizer.
"""
_ALLOCATORS = (
    *("DefaultCPUAllocator", "not enough memory", "can't allocate memory", "Cannot allocate memory", "bad_alloc"),
    # the device is full, which CUDA or another library reported instead of torch's allocator; the CUDA context is still usable
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED"),
)
_STICKY = (
    "device-side assert",
    "an illegal memory access",
    "illegal instruction",
    "illegal address",
    "misaligned address",
    "uncorrectable ECC",
    "unspecified launch failure",
    "CUDA error: unknown error",
    "fell off the bus",
    "Xid",
)


def room_for(lm: LanguageModel) -> Room | None:
    """The memory numbers from the model's inspection, or computed now; None where they cannot be computed."""
    known = room_in(lm.facts.room, str(lm.dtype).removeprefix("torch."))
    return known or room_of(lm.model, lm.layout.structure.engine, lm.dtype, lm.context_length)


def bytes_needed(lm: LanguageModel, rows: int, prompt_tokens: int, new_tokens: int) -> int | None:
    """The peak memory besides the weights for `rows` rows generated together, in bytes; None where it cannot be predicted."""
    room = room_for(lm)
    return None if room is None else room.needed(rows, prompt_tokens, new_tokens, pass_tokens(lm))


def planned_bytes(lm: LanguageModel, rows: int, prompt_tokens: int, new_tokens: int) -> int | None:
    """The smallest budget in bytes under which `rows` rows form one batch: their peak times SPARE."""
    needed = bytes_needed(lm, rows, prompt_tokens, new_tokens)
    return None if needed is None else math.ceil(SPARE * needed)


def kept_bytes(budget_bytes: int) -> int:
    """The bytes of a job's memory for prompts that a judge keeps."""
    return budget_bytes // KEPT_PART


def batch_rows_for(lm: LanguageModel, prompt_tokens: int, new_tokens: int, budget_bytes: int) -> int:
    """The rows of one batch under `budget_bytes`: at least 1, at most MAX_ROWS; 1 where the peak cannot be predicted. Raises OutOfMemory where
    one row and the weights take more than the whole device has."""
    check_room(lm, prompt_tokens, new_tokens, device_bytes(lm.device))
    low, high = 1, MAX_ROWS + 1
    while high - low > 1:
        rows = (low + high) // 2
        planned = planned_bytes(lm, rows, prompt_tokens, new_tokens)
        low, high = (rows, high) if planned is not None and planned <= budget_bytes else (low, rows)
    return low


def check_room(lm: LanguageModel, prompt_tokens: int, new_tokens: int, total_bytes: int) -> None:
    """Raises OutOfMemory, with the arithmetic, where the weights and one row of that length exceed `total_bytes`, so that no row could
    finish."""
    weights, row = lm.resident_bytes, bytes_needed(lm, 1, prompt_tokens, new_tokens)
    if row is not None and weights + row > total_bytes:
        sizes = [f"{size / 2**20:,.0f} MiB" for size in (weights, row, weights + row, total_bytes)]
        raise OutOfMemory(
            f"One row of {prompt_tokens:,} + {new_tokens:,} tokens does not fit: {sizes[0]} of weights + {sizes[1]} of caches, activations and "
            f"logits = {sizes[2]}; the device has {sizes[3]}. Shorten the prompts, request fewer new tokens, or use a smaller model."
        )


def device_bytes(device: torch.device) -> int:
    """The device's total memory in bytes; on a CPU, that of the machine or of the control group, whichever is smaller."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return host_bytes()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that memory ran out: Python's error, the device's, its libraries', or the CPU allocator's RuntimeError."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError, OutOfMemory)):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _ALLOCATORS)


def is_sticky_device_error(error: BaseException) -> bool:
    """Whether the CUDA context is lost, so that every later call fails and the process must end."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _STICKY)


def with_halving(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    rows: int,
    *,
    on_halved: Callable[[int], None] | None = None,
) -> list[Result]:
    """Returns the results of `run` over `items` in order, at most `rows` at a time.

    When a batch runs out of memory, the work continues from the last completed batch with half the rows, and the smaller size stays;
    `on_halved(rows)` is called. Other errors pass through. Raises OutOfMemory when one row alone does not fit.
    """
    results: list[Result] = []
    rows = max(1, min(rows, len(items)))
    while len(results) < len(items):
        batch = items[len(results) : len(results) + rows]
        failure = None
        try:
            results.extend(run(batch))
        except (MemoryError, RuntimeError, OutOfMemory) as error:
            if not is_out_of_memory(error):
                raise
            failure = str(error) or type(error).__name__
            traceback.clear_frames(error.__traceback__)  # its frames keep the tensors that filled the memory alive
        if failure is not None:
            free_memory()
            if len(batch) == 1:
                raise OutOfMemory(does_not_fit(failure))
            rows = len(batch) // 2
            if on_halved is not None:
                on_halved(rows)
    return results


def with_second_try(run: Callable[[], Result], sentence: Callable[[str], str]) -> Result:
    """Returns `run()`; if memory runs out, frees unused memory and calls `run` once more.

    Raises OutOfMemory with `sentence(failure)`.
    """
    try:
        return run()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    free_memory()
    try:
        return run()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failure = str(error) or type(error).__name__
    free_memory()
    raise OutOfMemory(sentence(failure))


def free_memory() -> None:
    """Collects unreachable objects and returns the cached blocks to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def available_bytes() -> int | None:
    """Free memory in bytes of the current device, or of the machine without a CUDA device. For messages only."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def does_not_fit(failure: str, what: str = "One row alone") -> str:
    """The error sentence for a smallest batch, `what`, that ran out of memory; `failure` is the allocator's message."""
    asked = re.search(r"(?:allocate|alloc)\D{0,20}([\d.]+ ?(?:[KMGT]i?B|bytes))", failure)
    free = available_bytes()
    return (
        f"{what} does not fit in memory: {asked[1] if asked else 'an unknown amount'} more was needed, "
        f"{'an unknown amount' if free is None else f'{free / 2**20:,.0f} MiB'} is free now. "
        "Shorten the prompts, request fewer new tokens, or use a smaller model or a larger device."
    )
