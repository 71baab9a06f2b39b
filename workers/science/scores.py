"""Turns judged answers into per-question scores (science.md, 4.5).

    delta        = mean over questions of sign (steered - unsteered), all answers counted
    delta_joint  = share with trait >= 50 and coherence >= the threshold, minus the same unsteered, in percentage points

A score that the judge could not make is NaN and stays NaN, never 0. Such a question is left out of the means and counted, and `bounds` tells how
far the mean could change with it. Q questions.
"""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

SHOWN = 50.0
"""Trait score from which an answer shows the trait."""
MOVED = 10.0
"""Points by which an answer must change to have moved."""


def joint(trait_Q: Scores, coherence_Q: Scores, threshold: float, sign: int = 1) -> Scores:
    """100 where an answer shows the trait (with `sign` -1: does not) and is coherent, else 0; NaN where a missing score would decide."""
    shown_Q = trait_Q >= SHOWN if sign > 0 else trait_Q < SHOWN
    coherent_Q = coherence_Q >= threshold
    no_trait, no_coherence = np.isnan(trait_Q), np.isnan(coherence_Q)
    undecided_Q = (no_trait & no_coherence) | (no_trait & coherent_Q) | (no_coherence & shown_Q)
    return np.where(undecided_Q, np.nan, np.where(shown_Q & coherent_Q, 100.0, 0.0))


def bounds(steered_Q: Scores, unsteered_Q: Scores, sign: int = 1) -> tuple[float, float]:
    """The smallest and largest possible mean of all differences, over all values 0 to 100 of the missing scores."""
    low_Q = np.nan_to_num(steered_Q, nan=0.0) - np.nan_to_num(unsteered_Q, nan=100.0)
    high_Q = np.nan_to_num(steered_Q, nan=100.0) - np.nan_to_num(unsteered_Q, nan=0.0)
    low, high = float(low_Q.mean()), float(high_Q.mean())
    return (low, high) if sign > 0 else (-high, -low)


def moved(differences_Q: Scores) -> dict[str, float | None]:
    """Shares of signed differences: questions that moved in the wanted direction, not at all, and in the opposite direction."""
    known = differences_Q[~np.isnan(differences_Q)]
    if not len(known):
        return {"wanted": None, "not_moved": None, "opposite": None}
    wanted, opposite = known >= MOVED, known <= -MOVED
    shares = {"wanted": wanted, "not_moved": ~(wanted | opposite), "opposite": opposite}
    return {name: float(share.mean()) for name, share in shares.items()}


def mean(values_Q: Scores) -> float | None:
    """The mean over the judged answers; None if none was judged."""
    known = values_Q[~np.isnan(values_Q)]
    return float(known.mean()) if len(known) else None
