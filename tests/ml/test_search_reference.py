"""The reference's own search beside ours, on the model that it was published for: gemma-3-4b layer 15 (research: trait-interp, 3.2)."""

import numpy as np

from tests.ml.dose_responses import Response, regret, searched

FULL_NORM, CLEAN_NORM = 25_984.0, 1_120.0
PROBE = Response(cliff=1.2, fall=0.08, onset=1.05, rise=0.1)
"""In doses of the clean norm, after its check run: coherent with little effect at c = 784 (r 0.70), effect at 1,192 (1.06), broken at 1,577."""


def reference_search(
    response: Response, norm: float, *, steps: int = 5, threshold: float = 70.0, momentum: float = 0.1
) -> tuple[float, list[float]]:
    """c0 = 0.7 x norm; then times 1.3 while coherent and 0.85 while not, smoothed by the momentum; c's best and all c."""
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
    """Massive dims are 95 % of the norm, so it begins at 16 clean norms; five steps of 0.85 end at 8, all of it gibberish."""
    best, tried = reference_search(PROBE, FULL_NORM)
    assert tried[0] == 0.7 * FULL_NORM
    assert min(tried) / CLEAN_NORM > 8
    assert max(PROBE.coherent(c / CLEAN_NORM) for c in tried) < 0.01
    assert regret(PROBE, best / CLEAN_NORM) > 0.99 * PROBE.best()


def test_it_needs_more_than_fifteen_steps_to_come_down_to_the_useful_range():
    """Their note says 17 to 1,200 (without momentum)."""
    _, tried = reference_search(PROBE, FULL_NORM, steps=25, momentum=0.0)
    assert next(step for step, c in enumerate(tried) if c < 1_200) == 17


def test_ours_lands_in_the_useful_range_within_six_evaluations_of_the_same_vector():
    """In doses of the clean norm the 1000x dimension is not there. Mean over eight draws of 20 questions: within 15 of about 80 points."""
    left = []
    for seed in range(8):
        r, ran = searched(PROBE, questions=20, seed=seed)
        assert len(ran) <= 6
        assert r is not None
        assert 0.8 < r < 1.4
        left.append(regret(PROBE, r))
    assert np.mean(left) < 0.15 * PROBE.best()


def test_without_massive_dims_the_reference_is_not_helpless():
    """Where both norms are the same its start is below the cliff, and it finds a fair dose: the norm is at fault, not the steps."""
    best, tried = reference_search(PROBE, CLEAN_NORM)
    assert tried[0] / CLEAN_NORM == 0.7
    assert regret(PROBE, best / CLEAN_NORM) < 0.4 * PROBE.best()
