"""Comparisons that need every answer: what a difference at equal dose, or a part of a vector, shows with its interval.

The intervals and verdicts are the service's own (docs/science.md, 4.5 and 4.6), on the parser's reading: an answer that shows the trait
counts 100, any other 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.training.directions import without
from tools.training.dosing import Site, push_all, shown
from tools.training.engine import Row
from workers.science.decomposition import massive_part
from workers.science.intervals import Interval, paired_interval
from workers.science.linalg import Float
from workers.science.separation import noise
from workers.science.verdicts import verdict


@dataclass(frozen=True)
class Bench:
    """A model, where it is pushed, and the test questions on which pushes are compared."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    site: Site
    trait: str
    test: Sequence[Row]

    def points(self, pushes: Sequence[Tensor]) -> list[Float]:
        """For every push `[D]`, 100 for each question whose answer shows the trait and 0 for the others: `[Q]`."""
        texts = push_all(self.model, self.tokenizer, self.site, self.test, pushes)
        return [100 * np.array(shown(self.trait, self.test, one), dtype=np.float64) for one in texts]

    def interval(self, differences_Q: Float) -> Interval | None:
        """Of the mean difference, over clusters."""
        return paired_interval(differences_Q, [row["cluster"] for row in self.test])


def share(points_Q: Float) -> float:
    """The mean as a share."""
    return round(float(points_Q.mean()) / 100, 4)


def limits(found: Interval | None) -> list[float] | None:
    """Both limits in points."""
    return None if found is None else [round(found.low, 1), round(found.high, 1)]


def raw_coefficient(bench: Bench, directions: dict[str, Tensor], dose: float) -> dict[str, Any]:
    """The comparison that is none, mean_diff and the probe at the probe's raw coefficient; beside it mean_diff at the probe's dose."""
    c = bench.site.coefficient(directions["probe"], dose)
    equal_dose = bench.site.coefficient(directions["mean_diff"], dose)
    probe, mean_diff, matched = bench.points(
        [c * directions["probe"], c * directions["mean_diff"], equal_dose * directions["mean_diff"]]
    )
    found = bench.interval(matched - probe)
    return {
        "c": round(c, 3),
        "r": dose,
        "probe": share(probe),
        "mean_diff": share(mean_diff),
        "mean_diff_at_equal_dose": share(matched),
        "at_equal_dose": {"interval": limits(found), "verdict": verdict(found)},
    }


def decomposition(bench: Bench, vector: Tensor, dose: float, classes: tuple[Tensor, Tensor]) -> dict[str, Any]:
    """Three arms at the coefficients the parts have inside the vector: its clean part, its massive part, both; at half the dose too.

    classes: positive and negative rows `[N, D]`, for how much of the massive part sampling explains. What the massive part is
    called is `none` where no dim is massive.
    """
    out: dict[str, Any] = {}
    for r in (dose, dose / 2):
        c = bench.site.coefficient(vector, r)
        kept = c * without(vector, bench.site.massive)
        before, clean, massive, both = bench.points([torch.zeros_like(vector), kept, c * vector - kept, c * vector])
        alone, on_top = bench.interval(massive - before), bench.interval(both - clean)
        out[f"r={r:g}"] = {
            "c": round(c, 3),
            "clean": share(clean),
            "massive": share(massive),
            "both": share(both),
            "alone": limits(alone),
            "on_top": limits(on_top),
            "massive_part": massive_part(alone, on_top, per_dim(classes, bench.site.massive)) if bench.site.massive else "none",
        }
    return out


def per_dim(classes: tuple[Tensor, Tensor], dims: Sequence[int]) -> dict[str, dict[str, float | None]]:
    """Each dim's class difference, z-score and share that sampling explains."""
    rows = torch.cat(classes).double().numpy()
    found = noise(rows, np.arange(len(rows)) < len(classes[0]))
    return {str(dim): found.of(dim) for dim in dims}
