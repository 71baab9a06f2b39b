"""Measures how far a judge's scores agree with labels of the same texts: by people, by a second judge, or by a parser where a trait has one."""

from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import rankdata

from terms.evidence import FEWEST_CLUSTERS


@dataclass(frozen=True)
class Agreement:
    """Agreement on the `n` texts with both a score and a label. `spearman` is the correlation of ranks within each trait (ties averaged), None
    without variation; `same_side` the share on the same side of 50; `clusters` the number of clusters of these texts."""

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
    scores: Sequence[float | None],
    labels: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    traits: Sequence[str] | None = None,
) -> Agreement:
    """The agreement of scores and labels, both 0-100; a text without a score or a label is left out. Without `clusters`, each text is a cluster
    of its own; without `traits`, all texts are of one trait.

    Each text counts by its rank within its trait over the number of that trait's texts: a judge that only tells one trait's texts from
    another's agrees with nothing.
    """
    named, of_trait = range(len(scores)) if clusters is None else clusters, [""] * len(scores) if traits is None else traits
    both = [row for row in zip(scores, labels, named, of_trait, strict=True) if row[0] is not None and row[1] is not None]
    if not both:
        return Agreement(0, None, None, 0)
    values = np.array([row[:2] for row in both], dtype=np.float64)
    ranks, trait_N = np.zeros_like(values), np.array([row[3] for row in both])
    for trait in set(trait_N):
        here = trait_N == trait
        ranks[here] = (rankdata(values[here], axis=0) - (here.sum() + 1) / 2) / here.sum()
    spread = float(np.sqrt(np.square(ranks).sum(0).prod()))
    rank = round(float(ranks.prod(1).sum()) / spread, 4) if spread else None
    same_side = round(float(np.mean((values[:, 0] >= 50) == (values[:, 1] >= 50))), 4)
    return Agreement(len(both), rank, same_side, len({row[2] for row in both}))
