"""Measures how far a judge's scores agree with labels of the same texts: by people, by a second judge, or by a parser where a trait has one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Agreement:
    """Agreement on the `n` texts with both a score and a label; `spearman` is the rank correlation (ties averaged), None without variation;
    `same_side` the share on the same side of 50."""

    n: int
    spearman: float | None
    same_side: float | None

    @property
    def rank(self) -> float:
        """`spearman`; 0 where scores or labels do not vary, which shows no agreement."""
        return self.spearman or 0.0

    def to_json(self) -> dict[str, float | None]:
        """The result as plain JSON values."""
        return asdict(self)


def agreement(scores: Sequence[float | None], labels: Sequence[float | None]) -> Agreement:
    """The agreement of scores and labels, both 0-100; a text without a score or a label is left out."""
    both = [(a, b) for a, b in zip(scores, labels, strict=True) if a is not None and b is not None]
    if not both:
        return Agreement(0, None, None)
    ours, theirs = np.array(both, dtype=np.float64).T
    varied = len(set(ours)) > 1 and len(set(theirs)) > 1
    rank = round(float(spearmanr(ours, theirs).statistic), 4) if varied else None
    return Agreement(len(both), rank, round(float(np.mean((ours >= 50) == (theirs >= 50))), 4))
