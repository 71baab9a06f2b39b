"""Chooses the dims that a suffix sets to 0, in the finished vector or in the activations before the fit.

Suffixes: terms/methods.py; docs/science.md, 3.4 and 5.
"""

from collections.abc import Sequence

import numpy as np

from terms.methods import Method
from workers.science.linalg import Float

BEFORE = ("preclean", "pretop")
"""Suffixes that clean activations; the others clean the finished vector."""


def dims_of(method: Method, vector_D: Float | None, *, massive: Sequence[int], order: Sequence[int]) -> list[int]:
    """The dims that the method's suffix names. `massive` is the layer's list; `order` holds all its dims by descending ratio_to_median, or the
    head of that order.

    Raises ValueError when the order is too short for the suffix.
    """
    if method.suffix in ("", "cleaned", "preclean"):
        return list(massive) if method.suffix else []
    if method.suffix in ("top", "pretop", "randomdims") and len(order) < method.top:
        raise ValueError(
            f"{method.key} needs the {method.top} dims of largest ratio_to_median; the calibration names {len(order)} of each layer."
        )
    if method.suffix in ("top", "pretop"):
        return list(order[: method.top])
    assert vector_D is not None
    if method.suffix == "largest":
        outside = np.setdiff1d(np.arange(len(vector_D)), np.asarray(massive, dtype=np.int64))
        return [int(dim) for dim in outside[np.argsort(-np.abs(vector_D[outside]), kind="stable")][: method.top]]
    assert method.suffix == "randomdims"
    spared = [*order[: method.top], *massive]  # the list need not be the first dims of that order
    others = np.setdiff1d(np.arange(len(vector_D)), np.asarray(spared, dtype=np.int64))
    seed = int(method.parameters.get("seed", 0))
    drawn = np.random.default_rng([seed, method.top]).choice(others, size=min(method.top, len(others)), replace=False)
    return sorted(int(dim) for dim in drawn)
