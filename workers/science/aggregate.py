"""The `aggregate` object of calibration.json: every field of docs/science.md, 2.2 with its formula and rounding.

JSON object keys are strings; layers and dims come in ascending order, so that the same statistics give the same text.
"""

import numpy as np

from terms.documents.calibration import Aggregate, DimAtLayer, DimLocation, Emergence
from terms.methods import RANKED_DIMS
from workers.science.massive import (
    baseline,
    dominant_dim,
    margins,
    massive_by_layer,
    massive_dims,
    peel_share,
    ratio_to_median,
    top_dims,
)
from workers.science.medians import Float, decimals, lower_median, percentile, significant
from workers.science.peeling import PEEL_SHARE
from workers.science.severity import ABOVE, located, middle_rows, severity
from workers.science.statistics import Statistics
from workers.science.tokenvalues import TokenValues

NEAREST = 5
"""Number of unlisted dims with a shown `margin`, largest first, so that readers see how close a decision was."""


def needed_dims(stats: Statistics, rule: str) -> dict[int, set[int]]:
    """The dims for which `aggregate` needs per-token values, by row of the captured layers."""
    listed, of_clean_norms = massive_dims(stats, rule), massive_by_layer(stats)
    needed = {row: {*listed, *of_clean_norms[row], *dims} for row, dims in enumerate(top_dims(stats))}
    for row in middle_rows(stats):
        needed[row] |= {dominant_dim(stats)}
    return needed


def aggregate(stats: Statistics, tokens: TokenValues, rule: str) -> Aggregate:
    """Returns all fields. `tokens` must hold `needed_dims`. Raises DegenerateActivations."""
    listed = massive_dims(stats, rule)
    above = [_pct_above(tokens.column(row, dominant_dim(stats)), baseline(stats)[row]) for row in middle_rows(stats)]
    return {
        "n_prompts": stats.prompts,
        "mean_alignment_by_layer": _by_layer(stats, stats.alignment, 4),
        "top_dims_by_layer": {str(layer): dims for layer, dims in zip(stats.layers, top_dims(stats), strict=True)},
        "ratio_order_by_layer": _ratio_order(stats),
        "dim_magnitude_by_layer": _dim_magnitude(stats),
        "layer_norms": _by_layer(stats, stats.norm, 1),
        "attn_norms": _by_layer(stats, stats.attn_norm, 1),
        "mlp_norms": _by_layer(stats, stats.mlp_norm, 1),
        "consecutive_cosine": _consecutive_cosine(stats),
        "per_layer": _per_layer(stats, tokens, listed),
        "massive_dims": {"rule": rule, "dims": listed},
        "massive_by_layer": {str(layer): dims for layer, dims in zip(stats.layers, massive_by_layer(stats, rule), strict=True)},
        "norm_share": _norm_share(stats, listed),
        "emergence": {str(dominant_dim(stats)): emergence(stats, dominant_dim(stats))},
        "margin": _margin(stats, rule),
        "clean_norms": _clean_norms(stats, tokens),
        "location": _location(stats, listed),
        "severity": severity(stats, above),
    }


def _by_layer(stats: Statistics, value_L: Float, places: int) -> dict[str, float]:
    return {str(layer): decimals(value, places) for layer, value in zip(stats.layers, value_L, strict=True)}


def _ratio_order(stats: Statistics) -> dict[str, list[int]]:
    """The dims with the largest ratio_to_median at each layer, descending, ties by index: the order in which `_topN` zeroes dims."""
    order_LD = np.argsort(-stats.mean_abs, axis=1, kind="stable")[:, :RANKED_DIMS]
    return {str(layer): [int(dim) for dim in order_LD[row]] for row, layer in enumerate(stats.layers)}


def _dim_magnitude(stats: Statistics) -> dict[str, list[float]]:
    """|m[dim]| / mean over dims of |m|, one entry per captured layer, for each dim in any layer's top."""
    size_LD = np.abs(stats.mean)
    mean_L = size_LD.mean(axis=1)
    dims = sorted({dim for dims in top_dims(stats) for dim in dims})
    return {str(dim): [decimals(value, 3) for value in size_LD[:, dim] / mean_L] for dim in dims}


def _consecutive_cosine(stats: Statistics) -> dict[str, float]:
    """cos(m_l, m_{l+1}), keyed by l, where both layers are captured."""
    cosines = {}
    for row in range(len(stats.layers) - 1):
        if stats.layers[row + 1] == stats.layers[row] + 1:
            here_D, next_D = stats.mean[row], stats.mean[row + 1]
            cosine = float(here_D @ next_D) / (float(np.linalg.norm(here_D)) * float(np.linalg.norm(next_D)))
            cosines[str(stats.layers[row])] = decimals(cosine, 4)
    return cosines


def _per_layer(stats: Statistics, tokens: TokenValues, listed: list[int]) -> dict[str, dict[str, DimAtLayer]]:
    baseline_L = baseline(stats)
    return {
        str(layer): {
            str(dim): _dim_at_layer(tokens.column(row, dim), stats.mean_abs[row, dim], baseline_L[row])
            for dim in sorted({*listed, *top_dims(stats)[row]})
        }
        for row, layer in enumerate(stats.layers)
    }


def _dim_at_layer(a: Float, mean: float, b: float) -> DimAtLayer:
    """The statistics of one dim at one layer. `a` is |h[dim]| of every response token, `b` the layer's baseline."""
    return {
        "ratio": decimals(mean / b, 1),
        "cv": decimals(float(np.std(a)) / mean if mean else 0.0, 3),
        "p5_ratio": decimals(percentile(a, 5) / b, 1),
        "pct_above_10x": decimals(_pct_above(a, b), 1),
    }


def _pct_above(a: Float, b: float) -> float:
    return 100.0 * float(np.count_nonzero(a > ABOVE * b)) / len(a)


def _norm_share(stats: Statistics, listed: list[int]) -> dict[str, dict[str, float]]:
    """Each listed dim's share of the summed squared norm over response tokens, at every layer."""
    total_L = stats.mean_square.sum(axis=1)
    return {
        str(layer): {str(dim): decimals(stats.mean_square[row, dim] / total_L[row], 4) for dim in sorted(listed)}
        for row, layer in enumerate(stats.layers)
    }


def emergence(stats: Statistics, dim: int) -> Emergence:
    """The layers at which a dim has at least half of its largest ratio_to_median, the first of these layers, and the first captured layer after
    them, where the ratio has fallen below half (None where it stays above)."""
    ratio_L = ratio_to_median(stats)[:, dim]
    plateau = [int(row) for row in np.flatnonzero(ratio_L >= ratio_L.max() / 2)]
    after = plateau[-1] + 1
    return {
        "first": stats.layers[plateau[0]],
        "plateau": [stats.layers[row] for row in plateau],
        "falls": stats.layers[after] if after < len(stats.layers) else None,
    }


def _margin(stats: Statistics, rule: str) -> dict[str, float]:
    """The margin of each listed dim and of the nearest others (docs/science.md, 2.4): peeling lists a dim at 1 or above. A margin below 1 is
    never rounded up to 1."""
    share = peel_share(rule)
    margin_D = margins(stats, PEEL_SHARE if share is None else share)
    listed = {*massive_dims(stats, rule), *(int(dim) for dim in np.flatnonzero(margin_D >= 1))}
    others = [int(dim) for dim in np.argsort(-margin_D, kind="stable") if dim not in listed]
    shown = sorted({*listed, *others[:NEAREST]})
    return {str(dim): _unrounded_to_one(margin_D[dim]) for dim in shown}


def _unrounded_to_one(margin: float) -> float:
    return min(significant(margin, 3), 0.999) if margin < 1 else significant(margin, 3)


def _clean_norms(stats: Statistics, tokens: TokenValues) -> dict[str, float]:
    """The median clean norm of each layer, the unit of dose. Uses the default rule's list of the layer, whatever rule the file lists dims by."""
    medians = [float(lower_median(tokens.norms_without(row, dims))) for row, dims in enumerate(massive_by_layer(stats))]
    return {str(layer): significant(median, 4) for layer, median in zip(stats.layers, medians, strict=True)}


def _location(stats: Statistics, listed: list[int]) -> dict[str, dict[str, DimLocation]]:
    """At each layer, for every listed dim and every dim that is massive at some token (`located`), over all tokens: how large it is, in how many
    prompts, and at which token. A layer without such dims has no entry."""
    located_LD = located(stats)
    places: dict[str, dict[str, DimLocation]] = {}
    for row, layer in enumerate(stats.layers):
        dims = sorted({*listed, *(int(dim) for dim in np.flatnonzero(located_LD[row]))})
        if dims:
            places[str(layer)] = {str(dim): _place(stats, row, dim) for dim in dims}
    return places


def _place(stats: Statistics, row: int, dim: int) -> DimLocation:
    first, delimiter, prompts = int(stats.at_first[row, dim]), int(stats.at_delimiter[row, dim]), stats.prompts
    return {
        "largest": decimals(stats.largest[row, dim], 3),
        "above_30x": decimals(int(stats.located[row, dim]) / prompts, 3),
        "first_token": decimals(first / prompts, 3),
        "first_delimiter": decimals(delimiter / prompts, 3),
        "elsewhere": decimals((prompts - first - delimiter) / prompts, 3),
    }
