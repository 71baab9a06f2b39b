"""A calibration made twice on the device has the same bytes, and the CPU's numbers to the digits that the file states."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.gpu.card.record import Record, Setup
from tests.ml.calibrating import DECIMALS, calibrate_bytes
from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import Planted, tiny_model_folder
from workers.lm.answering import MOST_ROWS
from workers.lm.loading import load
from workers.lm.memory import planned_bytes

PLANTED = (Planted(7, 60.0, spread=0.3), Planted(21, 400.0, "first_token"))
FAMILIES = ("llama", "gemma3")


def run(setup: Setup, record: Record) -> None:
    """With massive dims planted, at every token and at the first one, in both types that a GPU's worker may load."""
    with TemporaryDirectory() as base:
        for family in FAMILIES:
            folder = tiny_model_folder(Path(base), family, planted=PLANTED)
            for dtype in ("float32", "bfloat16"):
                with record.section(f"{family}, {dtype}"):
                    _twice(setup, record, folder, family, dtype)
            with record.section(f"{family} against the CPU"):
                _against_the_cpu(setup, record, folder, family)


def _twice(setup: Setup, record: Record, folder: Path, family: str, dtype: str) -> None:
    lm = load(folder, device=setup.device, dtype=dtype)
    first = calibrate_bytes(lm)
    again = calibrate_bytes(load(folder, device=setup.device, dtype=dtype))
    why = "the same spec gives the same bytes"
    record.check(f"{family}, {dtype}: bytes that differ between two runs", _differing(first, again), most=0, why=why)
    if dtype == "float32":
        few = FakeContext(lm, batch_budget_bytes=planned_bytes(lm, 2, 40, 16))
        name = f"{family}, float32: bytes that differ with batches of few rows (of {MOST_ROWS})"
        record.check(name, _differing(first, calibrate_bytes(lm, few)), most=0, why=why)


def _differing(first: bytes, again: bytes) -> int:
    return abs(len(first) - len(again)) + sum(one != other for one, other in zip(first, again, strict=False))


def _against_the_cpu(setup: Setup, record: Record, folder: Path, family: str) -> None:
    here, there = (json.loads(calibrate_bytes(load(folder, device=one)))["aggregate"] for one in (setup.device, "cpu"))
    units = dict(differences(here, there))
    where = max(units, key=lambda name: units[name])
    why = "one unit of the last stated digit: both are rounded, and may lie on two sides of a border"
    record.check(f"{family}: against the CPU, in last digits ({where})", units[where], most=1.001, why=why)
    record.figure(f"{family}: numbers equal to the CPU's", f"{sum(unit == 0 for unit in units.values())} of {len(units)}")


def differences(found: Any, wanted: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Each number's place and difference in units of its last stated digit; infinite where anything else differs."""
    where = "/".join(path)
    if isinstance(wanted, dict) and isinstance(found, dict) and found.keys() == wanted.keys():
        for key in wanted:
            yield from differences(found[key], wanted[key], (*path, key))
    elif isinstance(wanted, list) and isinstance(found, list) and len(found) == len(wanted):
        for one, other in zip(found, wanted, strict=True):
            yield from differences(one, other, path)
    elif isinstance(wanted, float) and isinstance(found, float):
        yield where, 0.0 if found == wanted else abs(found - wanted) / _unit(path, wanted)
    else:
        yield where, 0.0 if found == wanted else math.inf


def _unit(path: tuple[str, ...], value: float) -> float:
    """A number without stated digits must be equal."""
    if "clean_norms" in path:
        return 10.0 ** (math.floor(math.log10(abs(value))) - 3)
    return next((10.0 ** -DECIMALS[name] for name in reversed(path) if name in DECIMALS), 0.0) or 5e-324
