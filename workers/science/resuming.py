"""Saves the state of a measurement between two prompts as bytes, so that a stopped job can resume.

A numpy archive without pickles. The same prompts measured in one go or in several give the same bits.
"""

import io

import numpy as np

from workers.science.statistics import RunningStatistics
from workers.science.tokenvalues import TokenValues
from workers.science.watching import Watching


def to_bytes(running: RunningStatistics, tokens: TokenValues, watching: Watching) -> bytes:
    """The state after the prompts read so far."""
    arrays = {
        f"{part}/{name}": array
        for part, kept in (("running", running), ("tokens", tokens), ("watching", watching))
        for name, array in kept.arrays().items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def restore(data: bytes, running: RunningStatistics, tokens: TokenValues, watching: Watching) -> None:
    """Restores the state into new objects with the same layers and width."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        for part, kept in (("running", running), ("tokens", tokens), ("watching", watching)):
            kept.restore({name.removeprefix(f"{part}/"): archive[name] for name in archive.files if name.startswith(f"{part}/")})
