"""Faults inside a worker's process, switched on by its environment. Imported by the nodes of tests/chaos alone.

CHAOS_STORAGE_ERRORS  the share of puts and gets that fail, half before and half after they took effect
CHAOS_DEVICE_ROWS     batches of more rows than this run out of the device's memory, in each of the ways that memory runs out
"""

import itertools
import os
import random
from collections.abc import Callable
from typing import Any

from app.storage.base import StorageUnavailable
from app.storage.local import LocalStorage


def _unreliable(method: Callable[..., Any], share: float, dice: random.Random) -> Callable[..., Any]:
    def tried(*args: Any, **kwargs: Any) -> Any:
        roll = dice.random()
        if roll < share / 2:
            raise StorageUnavailable("a storage error of the fault suite, before")
        done = method(*args, **kwargs)
        if roll < share:
            raise StorageUnavailable("a storage error of the fault suite, after")
        return done

    return tried


def _break_storage(share: float) -> None:
    dice = random.Random()
    for name in ("put", "get"):
        setattr(LocalStorage, name, _unreliable(getattr(LocalStorage, name), share, dice))


def _shrink_device(rows: int) -> None:
    import torch

    import workers.shelf

    load = workers.shelf.load
    failures = itertools.cycle(
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
            ),
            MemoryError("Unable to allocate 9.00 GiB"),
        ]
    )

    def loaded(*args: Any, **kwargs: Any) -> Any:
        lm = load(*args, **kwargs)
        decoder: Any = lm.layout.decoder
        forward = decoder.forward

        def failing(*inner: Any, **named: Any) -> Any:
            if named["input_ids"].shape[0] > rows:
                raise next(failures)
            return forward(*inner, **named)

        decoder.forward = failing
        return lm

    workers.shelf.load = loaded


if "CHAOS_STORAGE_ERRORS" in os.environ:
    _break_storage(float(os.environ["CHAOS_STORAGE_ERRORS"]))
if "CHAOS_DEVICE_ROWS" in os.environ and os.environ.get("BINNACLE_WORKER_CLASS") == "model":
    _shrink_device(int(os.environ["CHAOS_DEVICE_ROWS"]))
