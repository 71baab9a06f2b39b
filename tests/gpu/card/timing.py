"""Seconds of work on a device, and the two rates that bound it: memory traffic and matrix products."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tests.gpu.card.record import Setup

Work = Callable[[], Any]


def synchronize(setup: Setup) -> None:
    """Wait until the device has done all it was given."""
    if setup.cuda:
        torch.cuda.synchronize(setup.device)


def seconds(setup: Setup, work: Work) -> float:
    """Wall seconds until the device has done `work`."""
    synchronize(setup)
    began = time.perf_counter()
    work()
    synchronize(setup)
    return time.perf_counter() - began


def alternating(setup: Setup, sides: Mapping[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each side in each round, the sides taking turns; each side ran once before, unmeasured."""
    for work in sides.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            found[name].append(seconds(setup, work))
    return found


def spread(values: list[float], digits: int = 2) -> str:
    """`least to most`."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


@dataclass(frozen=True)
class Ceilings:
    """Bytes per second of a copy, read and written bytes counted; operations per second of a product in the models' type."""

    bytes_per_s: float
    flops: float


def ceilings(setup: Setup, dtype: torch.dtype = torch.bfloat16) -> Ceilings:
    """Both rates, measured on buffers far larger than any cache (small ones on a tiny run)."""
    source = torch.ones(setup.size(1 << 30, 1 << 22), dtype=torch.float32, device=setup.device)
    target = torch.empty_like(source)
    copy = _median(setup, lambda: target.copy_(source))
    side = setup.size(8192, 256)
    left, right = (torch.randn(side, side, device=setup.device).to(dtype) for _ in range(2))
    product = _median(setup, lambda: left @ right)
    return Ceilings(2 * source.numel() * 4 / copy, 2 * side**3 / product)


def _median(setup: Setup, work: Work, rounds: int = 10) -> float:
    for _ in range(3):
        work()
    return statistics.median(seconds(setup, work) for _ in range(rounds))
