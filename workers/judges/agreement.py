"""Measures how far a judge's scores agree with labels of the same texts: by people, by a second judge, or by a parser where a trait has one."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import spearmanr

from terms.evidence import FEWEST_CLUSTERS


@dataclass(frozen=True)
class Agreement:
    """Agreement on the `n` texts with both a score and a label; `spearman` is the rank correlation (ties averaged), None without variation;
    `same_side` the share on the same side of 50; `clusters` the number of clusters of these texts."""

    n: int
    spearman: float | None
    same_side: float | None
    clusters: int

    @property
    def decides(self) -> bool:
        """Whether the labels are of enough clusters to confirm a judge or to withdraw its verdicts."""
        return self.clusters >= FEWEST_CLUSTERS

    @property
    def rank(self) -> float:
        """`spearman`; 0 where scores or labels do not vary, which shows no agreement."""
        return self.spearman or 0.0

    def to_json(self) -> dict[str, float | None]:
        """The result as plain JSON values."""
        return asdict(self)


def agreement(
    scores: Sequence[float | None], labels: Sequence[float | None], clusters: Sequence[Hashable] | None = None
) -> Agreement:
    """The agreement of scores and labels, both 0-100; a text without a score or a label is left out. Without `clusters`, each text is a cluster
    of its own."""
    named = range(len(scores)) if clusters is None else clusters
    both = [(a, b, of) for a, b, of in zip(scores, labels, named, strict=True) if a is not None and b is not None]
    if not both:
        return Agreement(0, None, None, 0)
    ours, theirs = np.array([(a, b) for a, b, _ in both], dtype=np.float64).T
    varied = len(set(ours)) > 1 and len(set(theirs)) > 1
    rank = round(float(spearmanr(ours, theirs).statistic), 4) if varied else None
    return Agreement(len(both), rank, round(float(np.mean((ours >= 50) == (theirs >= 50))), 4), len({of for _, _, of in both}))
