"""Measures how well projections separate held-out examples, and how much of a class difference is sampling noise (docs/science.md, 3.5).

Separation does not predict steering: vectors with accuracy 1.00 have failed to steer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from terms.documents.extraction import Separation
from terms.documents.massive import PerDim
from workers.science.linalg import Bool, Float


def measured(scores_N: Float, positive_N: Bool, threshold: float) -> Separation | None:
    """The separation of projections on a unit vector. None where the held-out split lacks a class.

    accuracy at `threshold`; Cohen's d with the pooled deviation; AUROC, ties counting half; polarity +1 where positives project higher.
    """
    positive, negative = scores_N[positive_N], scores_N[~positive_N]
    if not len(positive) or not len(negative):
        return None
    freedom = len(positive) + len(negative) - 2
    gap = float(positive.mean() - negative.mean())
    pooled = (
        np.sqrt((((positive - positive.mean()) ** 2).sum() + ((negative - negative.mean()) ** 2).sum()) / freedom)
        if freedom
        else 0.0
    )
    ranks = rankdata(np.concatenate([positive, negative]))
    above = ranks[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2
    return {
        "on": "validation",
        "n_positive": len(positive),
        "n_negative": len(negative),
        "accuracy": float(((scores_N > threshold) == positive_N).mean()),
        "cohens_d": gap / float(pooled) if pooled > 0 else None,
        "auroc": float(above / (len(positive) * len(negative))),
        "polarity": 1 if gap >= 0 else -1,
    }


@dataclass(frozen=True, eq=False)
class Noise:
    """The class difference of every dim [D] and its squared standard error, var+/n+ + var-/n-, NaN where it is unknown."""

    delta_D: Float
    error_D: Float

    def of(self, dim: int) -> PerDim:
        """One dim's difference, its z-score, and the share of its square that sampling noise alone would give."""
        delta, error = float(self.delta_D[dim]), float(self.error_D[dim])
        return {
            "delta": delta,
            "z": delta / float(np.sqrt(error)) if error > 0 else None,
            "noise_share": min(1.0, error / delta**2) if delta and not np.isnan(error) else None,
        }

    def share(self, zeroed: Sequence[int]) -> float | None:
        """The share of sampling noise in the mean difference's squared length, over all dims except `zeroed`."""
        kept = np.ones(len(self.delta_D), dtype=np.bool_)
        kept[list(zeroed)] = False
        square = float((self.delta_D[kept] ** 2).sum())
        error = float(self.error_D[kept].sum())
        return min(1.0, error / square) if square and not np.isnan(error) else None


def noise(rows_ND: Float, positive_N: Bool) -> Noise:
    """The noise of the difference between the rows' two classes; the error is unknown where a class has one row."""
    positive, negative = rows_ND[positive_N], rows_ND[~positive_N]
    errors = [
        side.var(0, ddof=1) / len(side) if len(side) > 1 else np.full(rows_ND.shape[1], np.nan) for side in (positive, negative)
    ]
    return Noise(positive.mean(0) - negative.mean(0), errors[0] + errors[1])
