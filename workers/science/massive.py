"""Which dims count as massive: the rules by name (science.md, 2.4), and the ratio they are judged by.

    ratio_to_median(l, d) = mean over response tokens of |h_d| / median over dims of the same

    massive        ratio_to_median >= 10 at >= min(3, L) captured layers; empty on a model without any
    ratio:R        the same with R for 10
    top5-3layers   in the top 5 of |mean h| at >= min(3, L) layers (trait-interp's rule: it always finds dims, massive or not)
    all            in the top 5 of |mean h| at any layer
    sun            at some token of some prompt |h_d| > 100 and > 1000 x the median of all |h| of that layer (Sun et al. 2024)

Every list is ordered by the median ratio over captured layers, largest first, ties by index.
Shapes: L captured layers, D hidden size.
The 10 and the 3 are conventions, not mathematics.
"""

from collections.abc import Callable, Iterable

import numpy as np

from workers.science.errors import DegenerateActivations
from workers.science.medians import Float, lower_median
from workers.science.statistics import Statistics

MASSIVE_RATIO = 10.0
MIN_LAYERS = 3
TOP = 5
DEFAULT_RULE = "massive"


def ratio_to_median(stats: Statistics) -> Float:
    """[L, D]. Raises DegenerateActivations where the median dim's mean size is 0."""
    median_L = baseline(stats)
    return stats.mean_abs / median_L[:, None]


def baseline(stats: Statistics) -> Float:
    """b of every layer, [L]: the median over dims of the token-mean |h|. Raises DegenerateActivations where it is 0."""
    median_L = lower_median(stats.mean_abs, axis=1)
    for layer, median in zip(stats.layers, median_L, strict=True):
        if median == 0:
            raise DegenerateActivations(layer, "the median dim's mean size over response tokens")
    return median_L


def top_dims(stats: Statistics) -> list[list[int]]:
    """The TOP dims of |mean h| of each captured layer, largest first, ties by index."""
    order_LD = np.argsort(-np.abs(stats.mean), axis=1, kind="stable")
    return [[int(dim) for dim in row[:TOP]] for row in order_LD]


def by_median_ratio(stats: Statistics) -> list[int]:
    """All dims by their median ratio_to_median over captured layers, largest first, ties by index."""
    median_D = lower_median(ratio_to_median(stats), axis=0)
    return [int(dim) for dim in np.argsort(-median_D, kind="stable")]


def dominant_dim(stats: Statistics) -> int:
    """The dim with the largest median ratio over captured layers."""
    return by_median_ratio(stats)[0]


def min_layers(stats: Statistics) -> int:
    """At how many layers a dim must qualify."""
    return min(MIN_LAYERS, len(stats.layers))


def massive_dims(stats: Statistics, rule: str = DEFAULT_RULE) -> list[int]:
    """The dims that `rule` chooses, in order. Raises ValueError for a rule that does not exist."""
    if rule.startswith("ratio:"):
        chosen = _at_ratio(stats, float(rule.removeprefix("ratio:")))
    elif rule in _RULES:
        chosen = _RULES[rule](stats)
    else:
        raise ValueError(f"there is no rule {rule!r}; the rules are {', '.join(_RULES)} and ratio:R")
    return [dim for dim in by_median_ratio(stats) if dim in chosen]


def _at_ratio(stats: Statistics, threshold: float) -> set[int]:
    return _indices((ratio_to_median(stats) >= threshold).sum(axis=0) >= min_layers(stats))


def _top_at_several_layers(stats: Statistics) -> set[int]:
    listed = [dim for dims in top_dims(stats) for dim in dims]
    return {dim for dim in listed if listed.count(dim) >= min_layers(stats)}


def _indices(chosen_D: Iterable[bool]) -> set[int]:
    return {dim for dim, chosen in enumerate(chosen_D) if chosen}


_RULES: dict[str, Callable[[Statistics], set[int]]] = {
    DEFAULT_RULE: lambda stats: _at_ratio(stats, MASSIVE_RATIO),
    "top5-3layers": _top_at_several_layers,
    "all": lambda stats: {dim for dims in top_dims(stats) for dim in dims},
    "sun": lambda stats: _indices(stats.sun.sum(axis=0) > 0),
}
