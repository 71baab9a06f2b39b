"""Chooses for which dims to store per-token values while prompts are read: the dims that `aggregate` is likely to need in the end.

No dim is watched in the first FIRST_PROMPTS prompts; the dims for the others are chosen from the first prompts' sums, and chosen again each time
a fifth more prompts were read. At the end, prompts that lack a needed dim are read again: usually the first FIRST_PROMPTS, more if a dim was
chosen later or never. A dim is watched when it is within a factor NEAR of being needed, so that the number of watched dims follows the need.
Wrong guesses cost time but never change a value.

Shapes: L captured layers, D hidden size.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.science.aggregate import needed_dims
from workers.science.errors import DegenerateActivations
from workers.science.massive import (
    MASSIVE_RATIO,
    TOP,
    by_median_ratio,
    margins,
    min_layers,
    peel_share,
    ratio_to_median,
    top_dims,
)
from workers.science.medians import Float
from workers.science.statistics import SUN_RATIO, SUN_SIZE, RunningStatistics, Statistics

FIRST_PROMPTS = 4
NEAR = 0.5
OWN_DIMS = 72  # per layer: this many by |mean h|, and at most this many by mean |h|, because they may end in its top
DOMINANT_DIMS = 4  # because one of these may end as the dominant dim


class Watching:
    """The dims to store at each captured layer, ascending; none before the first choice."""

    def __init__(self, rule: str, running: RunningStatistics) -> None:
        self._rule = rule
        self._running = running
        self._next_look = FIRST_PROMPTS
        self._chosen: list[set[int]] = [set() for _ in running.layers]
        self.dims = self._tensors()

    def look(self) -> None:
        """Updates the choice when it is due; call after each prompt."""
        if self._running.prompts < self._next_look or not self._running.response_tokens:
            return
        self._next_look = self._running.prompts + max(1, self._running.prompts // 5)
        try:
            likely = likely_dims(self._running.result(), self._rule)
        except DegenerateActivations:  # true of the few prompts so far; all prompts together may be sound
            return
        self._chosen = [chosen | dims for chosen, dims in zip(self._chosen, likely, strict=True)]
        self.dims = self._tensors()

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The chosen dims as arrays, for `restore`."""
        chosen = [(row, dim) for row, dims in enumerate(self._chosen) for dim in sorted(dims)]
        return {"chosen": np.array(chosen, dtype=np.int64).reshape(-1, 2), "next_look": np.array(self._next_look)}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Continues with the dims that another instance chose."""
        self._next_look = int(arrays["next_look"])
        for row, dim in arrays["chosen"].tolist():
            self._chosen[row].add(dim)
        self.dims = self._tensors()

    def _tensors(self) -> list[Tensor]:
        device = self._running.device
        return [torch.tensor(sorted(chosen), dtype=torch.int64, device=device) for chosen in self._chosen]


def likely_dims(stats: Statistics, rule: str) -> list[set[int]]:
    """The dims needed by the statistics so far, and those near to being needed, by row of the captured layers."""
    listed = _near_the_list(stats, rule) | {*by_median_ratio(stats)[:DOMINANT_DIMS]}
    needed = needed_dims(stats, rule)
    return [needed[row] | listed | own for row, own in enumerate(_near_the_top(stats))]


def _near_the_top(stats: Statistics) -> list[set[int]]:
    """Dims that may end in a layer's top by |mean h|: the largest so far, and those with a large enough mean |h|, which is an upper bound.

    A dim that changes its sign from prompt to prompt may rise from a low rank, but its mean |h| is large from the beginning.
    """
    size_LD = np.abs(stats.mean)
    dims_by_row = []
    for row, top in enumerate(top_dims(stats)):
        largest = np.argsort(-size_LD[row], kind="stable")[:OWN_DIMS]
        could_D = np.argsort(-stats.mean_abs[row], kind="stable")[:OWN_DIMS]
        enough = stats.mean_abs[row, could_D] >= size_LD[row, top[-1]]
        dims_by_row.append({int(dim) for dim in (*largest, *could_D[enough])})
    return dims_by_row


def _near_the_list(stats: Statistics, rule: str) -> set[int]:
    """Dims within a factor NEAR of being listed by the rule, or by the default rule."""
    share = peel_share(rule)
    near = _at_least(margins(stats), NEAR)
    if share is not None:
        return near | _at_least(margins(stats, share), NEAR)
    if rule.startswith("ratio"):
        least = float(rule.removeprefix("ratio:")) if rule.startswith("ratio:") else MASSIVE_RATIO
        kth_D = np.sort(ratio_to_median(stats), axis=0)[-min_layers(stats)]
        return near | _at_least(kth_D, (1 + NEAR) / 2 * least)
    if rule == "sun":
        large_LD = (stats.largest > NEAR * SUN_SIZE) & (stats.max_to_entry > NEAR**2 * SUN_RATIO)
        return near | {int(dim) for dim in np.flatnonzero((large_LD | (stats.sun > 0)).any(axis=0))}
    # top5-3layers and all: any dim that may end in a layer's top
    order_LD = np.argsort(-np.abs(stats.mean), axis=1, kind="stable")
    return near | {int(dim) for row in order_LD for dim in row[: 2 * TOP]}


def _at_least(value_D: Float, least: float) -> set[int]:
    return {int(dim) for dim in np.flatnonzero(value_D >= least)}
