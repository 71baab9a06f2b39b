"""From judged answers to per-question scores. Q questions; NaN where the judge failed, and NaN stays NaN: a failure is never a 0."""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

SHOWN = 50.0
"""Trait score from which an answer shows the trait."""
MOVED = 10.0
"""Points by which an answer must change to have moved."""


def joint(trait_Q: Scores, coherence_Q: Scores, threshold: float, sign: int = 1) -> Scores:
    """100 where an answer shows the trait (with `sign` -1: does not) and is coherent, else 0."""
    shown = trait_Q >= SHOWN if sign > 0 else trait_Q < SHOWN
    found = np.where(shown & (coherence_Q >= threshold), 100.0, 0.0)
    return np.where(np.isnan(trait_Q) | np.isnan(coherence_Q), np.nan, found)


def moved(differences_Q: Scores) -> dict[str, float | None]:
    """Shares of questions that moved as wanted, not at all, and the opposite way, of signed differences."""
    known = differences_Q[~np.isnan(differences_Q)]
    if not len(known):
        return {"wanted": None, "not_moved": None, "opposite": None}
    wanted, opposite = float((known >= MOVED).mean()), float((known <= -MOVED).mean())
    return {"wanted": wanted, "not_moved": 1 - wanted - opposite, "opposite": opposite}


def mean(values_Q: Scores) -> float | None:
    """Over the answers that were judged; None when none was."""
    known = values_Q[~np.isnan(values_Q)]
    return float(known.mean()) if len(known) else None
