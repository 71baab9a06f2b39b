"""Peeling: removes massive dims from a layer one by one, each judged by its share of the remaining squared norm (science.md, 2.4).

    nearness(d) = min(ratio_to_median / 10, share of the remaining squared norm / S)

The share is that at which the dim was removed, or for the other dims that at which peeling stopped. A dim is removed when it is the largest
remaining dim and its nearness is >= 1. Shapes: L layers, D hidden size. Plain numpy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.science.medians import Float

PEEL_SHARE = 0.10


@dataclass(frozen=True, eq=False)
class Peeled:
    """The result of peeling: `nearness_LD` is >= 1 exactly where `taken_LD`."""

    taken_LD: NDArray[np.bool_]
    nearness_LD: Float


def peel(size_LD: Float, square_LD: Float, share: float) -> Peeled:
    """Peels every layer. `size_LD` is ratio_to_median divided by the smallest qualifying ratio, `square_LD` the mean (or summed) square."""
    layers = [_peel_layer(size_D, square_D, share) for size_D, square_D in zip(size_LD, square_LD, strict=True)]
    return Peeled(np.stack([taken_D for taken_D, _ in layers]), np.stack([nearness_D for _, nearness_D in layers]))


def _peel_layer(size_D: Float, square_D: Float, share: float) -> tuple[NDArray[np.bool_], Float]:
    left_D = square_D.copy()
    taken_D, nearness_D = np.zeros(len(left_D), dtype=np.bool_), np.zeros(len(left_D))
    while True:
        near_D = np.minimum(size_D, left_D / left_D.sum() / share)
        largest = int(np.argmax(left_D))
        if near_D[largest] < 1:
            break
        taken_D[largest], nearness_D[largest] = True, near_D[largest]
        left_D[largest] = 0.0
    # Behind a large but uneven dim that stopped the peeling, a smaller dim may pass both thresholds. It was not removed, so its nearness stays
    # below 1.
    near_D = np.where(near_D < 1, near_D, near_D[largest])
    return taken_D, np.where(taken_D, nearness_D, near_D)
