"""The stability and the noise share of a vector: resamples without a fit are counted, and dims that are zeroed do not count as noise."""

import numpy as np
import pytest

from terms.methods import parse_method
from tests.ml.science.test_directions import examples, fitted, rows
from workers.science.directions.fitting import NO_REFIT, Layer, fit_all
from workers.science.resampling import resampled


def test_resamples_without_a_fit_are_left_out_and_counted() -> None:
    """lda has no covariance where all draws are the same cluster. Each half of two clusters is one cluster, too."""
    described = examples(3, clusters=3)
    one_cluster = sum(len(np.unique(described.cluster[resampled(described, 0, k) > 0])) == 1 for k in range(1, 51))
    assert one_cluster > 0
    [lda, plain] = fit_all(Layer(rows(3).astype(np.float32), described), [parse_method("lda"), parse_method("mean_diff")])
    assert lda.stability is not None
    assert plain.stability is not None
    assert (lda.stability["resamples"], lda.stability["left_out"]) == (50 - one_cluster, one_cluster)
    assert lda.stability["cosine_low"] < lda.stability["cosine_high"]
    assert lda.stability["split_half_cosine"] is None
    assert plain.stability["split_half_cosine"] is not None
    assert (plain.stability["resamples"], "left_out" in plain.stability) == (50, False)


def test_a_method_without_a_fit_on_any_resample_says_why_it_has_no_range() -> None:
    described = examples(2, clusters=2)
    seed = next(seed for seed in range(20) if len(np.unique(described.cluster[resampled(described, seed, 1) > 0])) == 1)
    [lda] = fit_all(Layer(rows(2).astype(np.float32), described), [parse_method("lda")], seed=seed, resamples=1)
    assert lda.stability == {"resamples": 0, "left_out": 1, "reason": NO_REFIT}


def test_the_noise_share_leaves_out_the_dims_that_are_zeroed() -> None:
    """By hand: differences 8, 4, 2, 1 with squared errors 2, 2, 1/2, 1/2; without dims 0 and 1 noise is (1/2 + 1/2) / (4 + 1)."""
    half, spread = np.array([8.0, 4.0, 2.0, 1.0]) / 2, np.array([1.0, 1.0, 0.5, 0.5])
    values = np.stack([half + spread, half - spread, -half + spread, -half - spread])
    found = fitted(
        values, ["mean_diff", "mean_diff_largest2", "mean_diff_preclean"], examples(2, clusters=2), massive=[3], order=range(4)
    )
    shares = {key: one.massive["noise_share"] for key, one in found.items() if one.massive is not None}
    assert found["mean_diff_largest2"].fit["zeroed"] == [0, 1]
    assert shares["mean_diff_largest2"] == pytest.approx(1 / 5)
    assert shares["mean_diff"] == pytest.approx(5 / 85)
    assert shares["mean_diff_preclean"] == pytest.approx(4.5 / 84)
