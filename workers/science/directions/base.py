"""The interface of methods (a function of labelled, weighted rows that returns a vector [D]), and the registry of their names.

Rows carry counts instead of being copied, so that a cluster resample uses the same rows with other counts. N rows, D hidden size; all float64.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from binnacle.words.counting import counted
from terms.methods import Value
from terms.values import Json
from workers.science.degenerate import ClassEmpty, ClassesCoincide, NonFiniteRows, ZeroRows
from workers.science.examples import Examples
from workers.science.linalg import Bool, Float, Int, norms, scaled

Parameters = Mapping[str, Value]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Training rows. `positive_N` are the labels (shuffled ones for a control), `counts_N` how often each row counts."""

    rows_ND: Float
    positive_N: Bool
    counts_N: Int
    examples: Examples

    def __post_init__(self) -> None:
        for name, of_class in (("positive", self.positive_N), ("negative", ~self.positive_N)):
            if not self.counts_N[of_class].any():
                raise ClassEmpty(f"There is no {name} training example. Both classes need some.")
        if not np.isfinite(self.rows_ND).all():
            row = int(np.flatnonzero(~np.isfinite(self.rows_ND).all(1))[0])
            raise NonFiniteRows(f"Row {row} (positives first) holds NaN or infinity.")

    @cached_property
    def unit_ND(self) -> Float:
        """Rows scaled to norm 1. Raises ZeroRows."""
        zero = np.flatnonzero(norms(self.rows_ND) == 0)
        if len(zero):
            raise ZeroRows(f"Rows of zeros cannot be scaled to norm 1: {counted(len(zero), 'row')}, the first is row {zero[0]}.")
        return scaled(self.rows_ND)

    def class_means(self, rows_ND: Float) -> tuple[Float, Float]:
        """The weighted means [D], [D] of the positives and of the negatives."""
        weights_N = self.counts_N.astype(np.float64)
        return tuple(weights_N[c] @ rows_ND[c] / weights_N[c].sum() for c in (self.positive_N, ~self.positive_N))  # type: ignore[return-value]

    def difference(self, rows_ND: Float) -> Float:
        """The mean of the positives minus the mean of the negatives, [D]. Raises ClassesCoincide when the means are equal to float32
        precision."""
        positive_D, negative_D = self.class_means(rows_ND)
        delta_D = positive_D - negative_D
        size = float(np.linalg.norm(positive_D)) + float(np.linalg.norm(negative_D))
        if float(np.linalg.norm(delta_D)) <= size * np.finfo(np.float32).eps / 2:
            raise ClassesCoincide(
                "The means of the two classes are the same: neither the prompts nor the window distinguish them."
            )
        return delta_D


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted direction: `vector_D` as the method's formula gives it, not scaled, and `facts` about the fit."""

    vector_D: Float
    facts: Mapping[str, Json] = field(default_factory=dict)


Method = Callable[[Labelled, Parameters], Fit]
REGISTRY: dict[str, Method] = {}


def register(name: str) -> Callable[[Method], Method]:
    """Registers a method under its base name."""

    def enter(method: Method) -> Method:
        REGISTRY[name] = method
        return method

    return enter


def signed(vector_D: Float, data: Labelled, rows_ND: Float) -> Float:
    """Returns the vector or its negative, whichever points from the negatives' mean to the positives'."""
    positive_D, negative_D = data.class_means(rows_ND)
    return -vector_D if float(vector_D @ (positive_D - negative_D)) < 0 else vector_D
