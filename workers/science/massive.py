"""Decides which dims are massive: the rules by name (science.md, 2.4), and the ratio that they use.

    ratio_to_median(l, d) = mean over response tokens of |h_d| / median over dims of that mean

    peeling          at a layer, repeatedly: the remaining dim with the largest squared norm is taken out if its
                     ratio_to_median is >= 10 and it holds >= 10 % of the remaining squared norm. Listed: taken out at >= min(3, L) layers
    peel:S           the same with the share S instead of 10 %
    ratio10-3layers  ratio_to_median >= 10 at >= min(3, L) captured layers
    ratio:R          the same with R instead of 10
    top5-3layers     in the top 5 of |mean h| at >= min(3, L) layers (trait-interp's rule: it always finds dims, massive or not)
    all              in the top 5 of |mean h| at any layer
    sun              at some token of some prompt |h_d| > 100 and > 1000 x the median of all |h| of that layer (Sun et al. 2024)

Only peeling uses a dim's share of the squared norm: in the first layers of some models most entries are tiny, and dozens of dims exceed 10x with
a share near 0. The share is of the remaining squared norm and not of the whole, so that a second massive dim does not hide behind the first.
Every list is ordered by the median ratio over captured layers, largest first, ties by index.
Shapes: L captured layers, D hidden size. The 10, the 10 % and the 3 are conventions, not mathematics.
"""

from collections.abc import Callable, Iterable

import numpy as np

from binnacle.words.massive import DEFAULT_RULE, RULES_IN_WORDS
from workers.science.errors import DegenerateActivations
from workers.science.medians import Float, lower_median
from workers.science.peeling import PEEL_SHARE, Peeled, peel
from workers.science.statistics import Statistics

MASSIVE_RATIO = 10.0
MIN_LAYERS = 3
TOP = 5


def ratio_to_median(stats: Statistics) -> Float:
    """The ratio of each dim's mean |h| to the median dim's, [L, D]. Raises DegenerateActivations where the median dim's mean size is 0."""
    median_L = baseline(stats)
    return stats.mean_abs / median_L[:, None]


def baseline(stats: Statistics) -> Float:
    """The baseline b of every layer, [L]: the median over dims of the token-mean |h|. Raises DegenerateActivations where it is 0."""
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
    """The number of layers at which a dim must qualify: min(3, L)."""
    return min(MIN_LAYERS, len(stats.layers))


def massive_dims(stats: Statistics, rule: str = DEFAULT_RULE) -> list[int]:
    """The dims that `rule` chooses, in order. Raises ValueError for an unknown rule, DegenerateActivations as `baseline` does."""
    share = peel_share(rule)
    if share is not None:
        chosen = _indices(peeled(stats, share).taken_LD.sum(axis=0) >= min_layers(stats))
    elif rule.startswith("ratio:"):
        chosen = _at_ratio(stats, float(rule.removeprefix("ratio:")))
    elif rule in _RULES:
        chosen = _RULES[rule](stats)
    else:
        raise ValueError(f"there is no rule {rule!r}; the rules are {RULES_IN_WORDS}")
    return [dim for dim in by_median_ratio(stats) if dim in chosen]


def massive_by_layer(stats: Statistics, rule: str = DEFAULT_RULE) -> list[list[int]]:
    """The listed dims of every captured layer, in the list's order: under peeling those with ratio_to_median >= 10 there, else all."""
    dims = massive_dims(stats, rule)
    if peel_share(rule) is None:
        return [dims for _ in stats.layers]
    return [[dim for dim in dims if ratio_D[dim] >= MASSIVE_RATIO] for ratio_D in ratio_to_median(stats)]


def peel_share(rule: str) -> float | None:
    """The share of the remaining squared norm that a peeling rule requires; None for the other rules."""
    if rule == DEFAULT_RULE:
        return PEEL_SHARE
    return float(rule.removeprefix("peel:")) if rule.startswith("peel:") else None


def peeled(stats: Statistics, share: float = PEEL_SHARE) -> Peeled:
    """Which dims peeling removes at every captured layer, and each dim's nearness to removal."""
    return peel(ratio_to_median(stats) / MASSIVE_RATIO, stats.mean_square, share)


def margins(stats: Statistics, share: float = PEEL_SHARE) -> Float:
    """Each dim's nearness to being listed, [D]: its min(3, L)-th largest nearness over layers. Peeling lists the dims with 1 or more."""
    return np.asarray(np.sort(peeled(stats, share).nearness_LD, axis=0)[-min_layers(stats)])


def _at_ratio(stats: Statistics, threshold: float) -> set[int]:
    return _indices((ratio_to_median(stats) >= threshold).sum(axis=0) >= min_layers(stats))


def _top_at_several_layers(stats: Statistics) -> set[int]:
    listed = [dim for dims in top_dims(stats) for dim in dims]
    return {dim for dim in listed if listed.count(dim) >= min_layers(stats)}


def _indices(chosen_D: Iterable[bool]) -> set[int]:
    return {dim for dim, chosen in enumerate(chosen_D) if chosen}


_RULES: dict[str, Callable[[Statistics], set[int]]] = {
    "ratio10-3layers": lambda stats: _at_ratio(stats, MASSIVE_RATIO),
    "top5-3layers": _top_at_several_layers,
    "all": lambda stats: {dim for dims in top_dims(stats) for dim in dims},
    "sun": lambda stats: _indices(stats.sun.sum(axis=0) > 0),
}
