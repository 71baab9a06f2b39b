"""The dose search of the reference implementation (trait-interp) and ours, both on a simulated dose-response like gemma-3-4b, layer 15, for
which the reference was published."""

import numpy as np

from tests.ml.science.dose_responses import Response, regret, searched

FULL_NORM, CLEAN_NORM = 25_984.0, 1_120.0  # of the residual stream at that layer: with massive dims, and without
PROBE = Response(cliff=1.2, fall=0.08, onset=1.05, rise=0.1)
"""Like the reference's check run: coherent with little effect at c = 784 (r = 0.70), effect at 1,192 (1.06), broken at 1,577 (1.41)."""


def reference_search(
    response: Response, norm: float, *, steps: int = 5, threshold: float = 70.0, momentum: float = 0.1
) -> tuple[float, list[float]]:
    """Begins at c = 0.7 norm, then multiplies by 1.3 where coherent, else by 0.85, smoothed by the momentum. Returns the best c, and all c."""
    c, velocity, tried = 0.7 * norm, 1.0, []
    for _ in range(steps):
        joint, _, coherence = response.evaluate(c / CLEAN_NORM, 20, seed=0)
        tried.append((c, joint, coherence))
        velocity = momentum * velocity + (1 - momentum) * (1.3 if coherence >= threshold else 0.85)
        c *= velocity
    valid = [one for one in tried if one[2] >= threshold]
    best = max(valid, key=lambda one: one[1]) if valid else max(tried, key=lambda one: one[2])
    return best[0], [one[0] for one in tried]


def test_from_the_full_norm_the_reference_never_reaches_a_coherent_dose():
    """With massive dims the norm is 23 clean norms, so it begins at 16 of them, and five steps end above 8, where no answer is coherent."""
    best, tried = reference_search(PROBE, FULL_NORM)
    assert tried[0] == 0.7 * FULL_NORM
    assert min(tried) / CLEAN_NORM > 8
    assert max(PROBE.coherent(c / CLEAN_NORM) for c in tried) < 0.01
    assert regret(PROBE, best / CLEAN_NORM) > 0.99 * PROBE.best()


def test_the_reference_needs_seventeen_steps_to_reach_the_useful_range():
    """The published note says 17 steps to 1,200 (without momentum)."""
    _, tried = reference_search(PROBE, FULL_NORM, steps=25, momentum=0.0)
    assert next(step for step, c in enumerate(tried) if c < 1_200) == 17


def test_ours_ends_in_the_useful_range_within_six_evaluations():
    """Ours measures doses in clean norms. Over eight draws of 20 questions its mean regret is below 15 % of the best joint share."""
    left = []
    for seed in range(8):
        r, ran = searched(PROBE, questions=20, seed=seed)
        assert len(ran) <= 6
        assert r is not None
        assert 0.8 < r < 1.4
        left.append(regret(PROBE, r))
    assert np.mean(left) < 0.15 * PROBE.best()


def test_without_massive_dims_the_reference_finds_a_fair_dose():
    """With the clean norm it begins below the cliff and finds a fair dose: the norm is at fault, not the steps."""
    best, tried = reference_search(PROBE, CLEAN_NORM)
    assert tried[0] / CLEAN_NORM == 0.7
    assert regret(PROBE, best / CLEAN_NORM) < 0.4 * PROBE.best()
