"""How far the cosine of two directions moves when the extraction prompts are drawn again, cluster by cluster."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tools.training.directions import cosine

Direction = Callable[[Tensor, Tensor], Tensor]


def drawn_rows(clusters: Sequence[str], rng: random.Random) -> Tensor:
    """Row indices of as many clusters as there are, drawn with replacement."""
    members: dict[str, list[int]] = {}
    for row, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(row)
    names = sorted(members)
    return torch.tensor([row for name in rng.choices(names, k=len(names)) for row in members[name]])


def cosine_range(
    positive: tuple[Tensor, Sequence[str]],
    negative: tuple[Tensor, Sequence[str]],
    one: Direction,
    other: Direction,
    times: int = 50,
) -> dict[str, float]:
    """Median and 95 % range of cos(one, other) over resamples; each class is rows `[N, D]` with their clusters.

    Classes with the same clusters (pairs) are drawn together.
    """
    rng = random.Random(0)
    paired = list(positive[1]) == list(negative[1])
    found = []
    for _ in range(times):
        rows = drawn_rows(positive[1], rng)
        against = rows if paired else drawn_rows(negative[1], rng)
        p, n = positive[0][rows], negative[0][against]
        found.append(cosine(one(p, n), other(p, n)))
    low, median, high = np.percentile(found, [2.5, 50, 97.5])
    return {"median": round(float(median), 3), "low": round(float(low), 3), "high": round(float(high), 3)}
