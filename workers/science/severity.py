"""Severity: the dominant dim, its four ratios, and the verdict (science.md, 2.3 and 2.4).

    dominant   the dim with the largest median ratio_to_median over captured layers
    verdict    by its median ratio_to_median over the middle half of the layers: none < 10 <= mild < 100 <= severe; none where the default
               rule lists no dim
    scope      every_token: the dominant dim's median share of response tokens above 10 b is >= 90 % there
               token_local: else, when some dim is massive at some token in >= 10 % of prompts, or the default list is not empty
               none: else

Every model has a dominant dim; verdict and scope say whether it matters. Neither depends on the rule a caller chose for
cleaning. Medians over layers are the lower of two.
"""

from collections.abc import Sequence

import numpy as np

from binnacle.words.massive import LIMITS
from terms.documents.calibration import Severity
from workers.science.massive import MASSIVE_RATIO, dominant_dim, massive_dims, min_layers, ratio_to_median
from workers.science.medians import Float, decimals, lower_median
from workers.science.peeling import PEEL_SHARE
from workers.science.statistics import LOCATED_RATIO, Int, Statistics

MILD, SEVERE = LIMITS
ABOVE = 10.0  # a token counts as above where |h_d| exceeds this many baselines
EVERY_TOKEN_PCT = 90.0
LOCATED_SHARE = 0.1


def middle_rows(stats: Statistics) -> list[int]:
    """Rows of the captured layers in the model's middle half, floor(L/4) to ceil(3L/4)-1; all rows when none was captured there."""
    total = stats.model_layers
    middle = range(total // 4, -(-3 * total // 4))
    rows = [row for row, layer in enumerate(stats.layers) if layer in middle]
    return rows or list(range(len(stats.layers)))


def located(stats: Statistics) -> Int:
    """[L, D], 1 where a dim is massive at some token in enough prompts (max_to_entry_median > 30 in >= 10 %)."""
    return (stats.located / stats.prompts >= LOCATED_SHARE).astype(np.int64)


def severity(stats: Statistics, pct_above: Sequence[float]) -> Severity:
    """The `severity` object. `pct_above` is, per middle row, the dominant dim's percentage of response tokens above 10 b."""
    dim = dominant_dim(stats)
    rows = middle_rows(stats)
    ratio = _middle(ratio_to_median(stats)[rows, dim])
    mean_size_LD = np.abs(stats.mean)
    share_L = stats.mean_square[:, dim] / stats.mean_square.sum(axis=1)
    pct = _middle(np.asarray(pct_above, dtype=np.float64))
    return {
        "dominant_dim": dim,
        "ratios": {
            "ratio_to_median": decimals(ratio, 3),
            "ratio_to_mean": decimals(_middle(mean_size_LD[rows, dim] / mean_size_LD[rows].mean(axis=1)), 3),
            "max_to_median": decimals(_middle(stats.max_to_median[rows, dim]), 3),
            "max_to_entry_median": decimals(_middle(stats.max_to_entry[rows, dim]), 3),
        },
        "share_of_squared_norm": decimals(_middle(share_L[rows]), 4),
        "mean_alignment": decimals(_middle(stats.alignment[rows]), 4),
        "pct_above_10x": decimals(pct, 1),
        "layers": [stats.layers[row] for row in rows],
        "scope": _scope(stats, pct),
        "verdict": _verdict(ratio) if massive_dims(stats) else "none",
        "thresholds": {
            "massive_ratio_to_median": MASSIVE_RATIO,
            "massive_share_left": PEEL_SHARE,
            "massive_min_layers": min_layers(stats),
            "verdict_mild": MILD,
            "verdict_severe": SEVERE,
            "every_token_pct_above_10x": EVERY_TOKEN_PCT,
            "located_max_to_entry_median": LOCATED_RATIO,
            "located_share_of_prompts": LOCATED_SHARE,
        },
    }


def _verdict(ratio: float) -> str:
    return "severe" if ratio >= SEVERE else "mild" if ratio >= MILD else "none"


def _scope(stats: Statistics, pct_above: float) -> str:
    if pct_above >= EVERY_TOKEN_PCT:
        return "every_token"
    return "token_local" if located(stats).any() or massive_dims(stats) else "none"


def _middle(values: Float) -> float:
    return float(lower_median(values))
