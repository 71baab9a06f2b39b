"""Fits every method at one layer, component and position, and computes all facts stored with the vectors (docs/science.md, 3.5).

Fits are shared: methods that differ only in the dims set to 0 afterwards are fitted once, on each resample too. All in float64; the resulting
vectors are float32 of norm 1. Deterministic: the same rows give the same bits.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from terms.documents.extraction import DirectionFacts, Paired, Separation, Stability
from terms.documents.massive import OfMassiveDims
from terms.methods import Method, Value, parse_method
from terms.values import Json
from workers.science import separation
from workers.science.degenerate import DegenerateRows, NothingLeft
from workers.science.directions import gradient, lda, mean_diff, mean_diff_rownorm, pca, probe, random, rfm  # noqa: F401 - importing the modules registers the methods
from workers.science.directions.base import REGISTRY, Fit, Labelled
from workers.science.directions.zeroing import BEFORE, dims_of
from workers.science.examples import Examples
from workers.science.linalg import Bool, Float, Int, norms, without
from workers.science.resampling import halves, pairs, resampled, too_few_clusters
from workers.science.threads import one_thread

STABILITY_LEVEL = (2.5, 97.5)
NO_REFIT = "The method cannot be fitted on any resample of the clusters. Give more prompts, in more clusters."
Fitting = tuple[str, tuple[tuple[str, Value], ...], tuple[int, ...], bytes, bytes]
"""The inputs that determine a fit: base, parameters, dims zeroed before it, counts of the rows, labels."""


@dataclass(frozen=True, eq=False)
class Direction:
    """One vector of norm 1 and its facts; `norm` is its length before scaling."""

    key: str
    vector_D: NDArray[np.float32]
    norm: float
    baseline: float
    fit: Mapping[str, Json]
    separation: Separation | None
    massive: OfMassiveDims | None
    stability: Stability | None
    pairs: Paired
    counts: dict[str, int]
    seed: int

    def to_dict(self) -> DirectionFacts:
        """The facts as extraction.json holds them, without the numbers of the vector."""
        return {
            "method": self.key, "width": len(self.vector_D), "norm": self.norm, "baseline": self.baseline, "fit": self.fit,
            "separation": self.separation, "massive": self.massive, "stability": self.stability, "pairs": self.pairs,
            "counts": self.counts, "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Layer:
    """The rows [N, D] of one layer, component and position, and the calibration's facts about that layer.

    `massive` is the layer's own list, None without a calibration; `order` are dims by descending ratio_to_median. `own_fits` are vectors that
    were trained elsewhere (through the model), by key.
    """

    rows_ND: NDArray[np.float32]
    examples: Examples
    massive: Sequence[int] | None = None
    order: Sequence[int] = ()
    own_fits: Mapping[str, Fit] = field(default_factory=dict)


def fit_all(
    layer: Layer, methods: Sequence[Method], *, seed: int = 0, resamples: int = 50, may_lack: Collection[str] = ()
) -> list[Direction]:
    """Returns a direction for each method, in order. `may_lack` are keys of refits, left out where the resample determines no vector.

    Raises DegenerateRows, and ValueError for a suffix that the calibration cannot support.
    """
    with one_thread():
        work = _Work(layer, seed)
        return [work.direction(method, resamples) for method in methods if method.key not in may_lack or work.fits(method)]


def shuffled_labels(positive_N: Bool, seed: int) -> Bool:
    """Labels without the trait: each new class draws from both true classes in proportion to their shares of all rows, rounded.

    Freely permuted labels agree with the true labels by chance. Where the trait is most of the rows' variance, that is most of the vector: over
    12 seeds on a shipped model, free permutations had cosines of -0.6 to 0.7 with the trait's vector, these -0.2 to 0.25.
    """
    draw = np.random.default_rng([seed, 0x5407])
    true, other = np.flatnonzero(positive_N), np.flatnonzero(~positive_N)
    from_true = round(len(true) ** 2 / len(positive_N))
    labels_N = np.zeros(len(positive_N), dtype=np.bool_)
    labels_N[draw.permutation(true)[:from_true]] = True
    labels_N[draw.permutation(other)[: len(true) - from_true]] = True
    return labels_N


class _Work:
    """The shared work at one layer: training rows, finished fits, and values common to all methods."""

    def __init__(self, layer: Layer, seed: int) -> None:
        self._layer = layer
        self._seed = seed
        chosen = layer.examples.train
        self._examples = layer.examples.subset(chosen)
        self._rows_ND = layer.rows_ND[chosen].astype(np.float64)
        self._held_ND = layer.rows_ND[~chosen].astype(np.float64)
        self._held = layer.examples.subset(~chosen)
        self._ones_N = np.ones(len(self._rows_ND), dtype=np.int64)
        self._fits: dict[Fitting, Fit] = {}
        self._labelled: dict[tuple[bytes, bytes, tuple[int, ...]], Labelled] = {}
        self._noise: separation.Noise | None = None
        self._pairs: Paired | None = None

    def direction(self, method: Method, resamples: int) -> Direction:
        """Returns the method's vector with all of its facts; its stability is measured on `resamples` resamples. Raises DegenerateRows."""
        counts_N = self._counts(method)
        vector_D, fit = self._vector(method, counts_N)
        norm = float(np.linalg.norm(vector_D))
        unit_D = (vector_D / norm).astype(np.float32)
        data = self._data(self._examples.positive, counts_N, ())
        positive_D, negative_D = data.class_means(data.rows_ND)
        baseline = float(unit_D.astype(np.float64) @ (positive_D + negative_D)) / 2
        return Direction(
            key=method.key,
            vector_D=unit_D,
            norm=norm,
            baseline=baseline,
            fit=fit.facts,
            separation=separation.measured(self._held_ND @ unit_D.astype(np.float64), self._held.positive, baseline),
            massive=self._massive(method, fit.vector_D, unit_D.astype(np.float64)),
            stability=self._stability(method, vector_D, resamples),
            pairs=self._paired(),
            counts={"positive": int(self._examples.positive.sum()), "negative": int((~self._examples.positive).sum())},
            seed=self._seed,
        )

    def fits(self, method: Method) -> bool:
        """Whether the rows determine the method's vector."""
        return self._refitted(method, self._counts(method)) is not None

    def _counts(self, method: Method) -> Int:
        """How often each training row counts: once, or as often as its cluster was drawn for a refit's resample."""
        refit = int(method.parameters.get("refit", 0))
        return resampled(self._examples, self._seed, refit) if refit else self._ones_N

    def _vector(self, method: Method, counts_N: Int) -> tuple[Float, Fit]:
        """The method's vector on the examples with these counts, cleaned as its suffix says. Raises NothingLeft."""
        if method.base == "shuffled":
            of = parse_method(str(method.parameters["of"]))
            return self._cleaned(of, self._fit(of, counts_N, self._shuffled(int(method.parameters["seed"]))))
        return self._cleaned(method, self._fit(method, counts_N, None))

    def _cleaned(self, method: Method, fit: Fit) -> tuple[Float, Fit]:
        """The fitted vector with the suffix's dims set to 0 (dims that were set to 0 before the fit are 0 already), and the fit with these dims
        among its facts; the fit keeps the whole vector. Raises NothingLeft where the rest is rounding error."""
        dims = [] if method.suffix in BEFORE else self._dims(method, fit.vector_D)
        vector_D = without(fit.vector_D[None], dims)[0]
        if not np.linalg.norm(vector_D) > np.linalg.norm(fit.vector_D) * np.finfo(np.float32).eps:
            raise NothingLeft(f"{method.key}: nothing remains of the vector when dims {dims} are set to 0.")
        facts: dict[str, Json] = {**fit.facts, **({"zeroed": dims} if method.suffix else {})}
        return vector_D, Fit(fit.vector_D, facts)

    def _dims(self, method: Method, vector_D: Float | None) -> list[int]:
        """The dims that the method's suffix sets to 0; `vector_D` None for suffixes that set them before the fit."""
        return dims_of(method, vector_D, massive=self._layer.massive or (), order=self._layer.order)

    def _fit(self, method: Method, counts_N: Int, labels_N: Bool | None) -> Fit:
        """The fit, before dims of its vector are set to 0: trained elsewhere (`own_fits`), or computed once for equal inputs. `labels_N`
        None: the true labels."""
        if method.key in self._layer.own_fits:
            return self._layer.own_fits[method.key]
        before = tuple(self._dims(method, None)) if method.suffix in BEFORE else ()
        parameters = {name: value for name, value in method.parameters.items() if name != "refit"}
        labels_N = self._examples.positive if labels_N is None else labels_N
        asked = (method.base, tuple(sorted(parameters.items())), before, counts_N.tobytes(), labels_N.tobytes())
        if asked not in self._fits:
            data = self._data(labels_N, counts_N, before)
            fit = REGISTRY[method.base](data, parameters)
            self._fits[asked] = Fit(fit.vector_D, {**fit.facts, **({"precleaned": list(before)} if before else {})})
        return self._fits[asked]

    def _data(self, labels_N: Bool, counts_N: Int, before: tuple[int, ...]) -> Labelled:
        """The training rows with these labels and counts, and the dims `before` set to 0."""
        asked = (labels_N.tobytes(), counts_N.tobytes(), before)
        if asked not in self._labelled:
            rows_ND = without(self._rows_ND, before) if before else self._rows_ND
            # only the last, because rows are large
            self._labelled = {asked: Labelled(rows_ND, labels_N, counts_N, self._examples)}
        return self._labelled[asked]

    def _shuffled(self, seed: int) -> Bool:
        """The labels of the control `shuffled` with this seed."""
        return shuffled_labels(self._examples.positive, seed)

    def _massive(self, method: Method, fitted_D: Float, unit_D: Float) -> OfMassiveDims | None:
        """The part of the vector in the layer's massive dims; None without a calibration. `fitted_D`: before its dims are set to 0."""
        if self._layer.massive is None:
            return None
        if self._noise is None:
            self._noise = separation.noise(self._rows_ND, self._examples.positive)
        dims = list(self._layer.massive)
        share = float((unit_D[dims] ** 2).sum())
        zeroed = self._dims(method, fitted_D) if method.suffix else []
        return {
            "dims": dims,
            "share": share,
            "clean_norm": float(np.sqrt(max(0.0, 1 - share))),
            "noise_share": self._noise.share(zeroed) if method.base == "mean_diff" else None,
            "per_dim": {str(dim): self._noise.of(dim) for dim in dims},
        }

    def _stability(self, method: Method, vector_D: Float, resamples: int) -> Stability | None:
        """Cosines with the vector on resampled clusters, and between two halves. None for controls, refits and fits that are too expensive to
        repeat. Resamples on which the method has no fit are left out and counted."""
        if (
            method.base in ("random", "shuffled", "gradient", "rfm", "lm_loss")
            or method.parameters.get("refit")
            or resamples == 0
        ):
            return None
        why_not = too_few_clusters(self._examples)
        if why_not is not None:
            return {"resamples": 0, "reason": why_not}
        refitted = [self._refitted(method, resampled(self._examples, self._seed, k + 1)) for k in range(resamples)]
        kept = [refit_D for refit_D in refitted if refit_D is not None]
        if not kept:
            return {"resamples": 0, "left_out": resamples, "reason": NO_REFIT}
        drawn = np.stack(kept)
        cosines = drawn @ vector_D / (norms(drawn) * np.linalg.norm(vector_D))
        low, high = np.percentile(cosines, STABILITY_LEVEL)
        stability: Stability = {
            "split_half_cosine": self._split_half(method),
            "cosine_low": float(low),
            "cosine_high": float(high),
            "resamples": len(kept),
        }
        return stability if len(kept) == resamples else {**stability, "left_out": resamples - len(kept)}

    def _split_half(self, method: Method) -> float | None:
        """The cosine between the vectors of two halves of the clusters; None where a half lacks a class or allows no fit."""
        split = halves(self._examples, self._seed)
        if split is None:
            return None
        one, other = (self._refitted(method, counts_N) for counts_N in split)
        return None if one is None or other is None else float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))

    def _refitted(self, method: Method, counts_N: Int) -> Float | None:
        """The vector on the examples with these counts; None where they determine none, as for lda on one cluster drawn again and again."""
        try:
            return self._vector(method, counts_N)[0]
        except DegenerateRows:
            return None

    def _paired(self) -> Paired:
        """The mean cosine among the differences of pairs, which shows how well the pairs agree on one direction."""
        if self._pairs is None:
            paired = list(pairs(self._examples, self._examples.positive, self._ones_N, self._seed))
            one, other = (list(side) for side in zip(*paired, strict=True))
            differences = self._rows_ND[one] - self._rows_ND[other]
            size = norms(differences)
            units = differences[size > 0] / size[size > 0][:, None]
            n = len(units)
            mean = None if n < 2 else float((np.square(units.sum(0)).sum() - n) / (n * (n - 1)))
            self._pairs = {"n": len(paired), "mean_cosine": mean}
        return self._pairs
