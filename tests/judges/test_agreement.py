"""How far a judge agrees with labels is known from texts of one trait alone."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from workers.judges.agreement import agreement


def test_a_judge_that_only_tells_traits_apart_agrees_with_no_label() -> None:
    """Scores and labels are high for one trait and low for the other, and unrelated within each; over both they correlate by 0.75."""
    draw = np.random.default_rng(4)
    centre = np.repeat([85.0, 15.0], 25)
    scores, labels = (np.clip(centre + draw.normal(0, 8, 50), 0, 100).tolist() for _ in range(2))
    traits = ["refusal"] * 25 + ["sycophancy"] * 25
    pooled, within = agreement(scores, labels), agreement(scores, labels, traits=traits)
    assert pooled.rank > 0.6
    assert abs(within.rank) < 0.4
    parts = [spearmanr(scores[part], labels[part]).statistic for part in (slice(25), slice(25, 50))]
    assert within.spearman == pytest.approx(np.mean(parts), abs=1e-4), "traits of equal size count alike"


def test_within_one_trait_it_is_spearman() -> None:
    draw = np.random.default_rng(1)
    scores, labels = draw.integers(0, 6, 40) * 20.0, draw.integers(0, 6, 40) * 20.0
    found = agreement(scores.tolist(), labels.tolist(), traits=["refusal"] * 40)
    assert found.spearman == pytest.approx(spearmanr(scores, labels).statistic, abs=1e-4)
