"""From scores to differences: answers that show the trait coherently, missing scores and their bounds, and the gain on held-out questions."""

import itertools

import numpy as np
import pytest

from tests.ml.science.dose_responses import Response
from workers.science.scores import bounds, joint, mean, moved
from workers.science.search import Search

NAN = float("nan")


@pytest.mark.parametrize(("sign", "expected"), [(1, [100, 0, 0, 0, 100]), (-1, [0, 0, 100, 0, 0])])
def test_joint_counts_answers_that_show_the_trait_and_are_coherent(sign, expected):
    """A score at its threshold passes: 50 shows the trait, 70 is coherent."""
    trait, coherence = np.array([50.0, 90, 49.9, 10, 100]), np.array([70.0, 69.9, 100, 20, 100])
    assert joint(trait, coherence, 70, sign).tolist() == expected


def test_a_missing_score_counts_as_missing_only_where_it_would_decide():
    """An incoherent answer counts as 0 whatever its trait score, so a missing trait score does not matter there."""
    trait, coherence = np.array([NAN, NAN, 80.0, 20.0, NAN]), np.array([10.0, 90.0, NAN, NAN, NAN])
    found = joint(trait, coherence, 70)
    assert found[[0, 3]].tolist() == [0, 0]
    assert np.isnan(found[[1, 2, 4]]).all()


def test_bounds_are_the_extreme_means_over_all_values_of_the_missing_scores():
    rng = np.random.default_rng(0)
    steered, base = rng.uniform(0, 100, 6), rng.uniform(0, 100, 6)
    steered[[1, 3]] = base[3] = NAN
    for sign in (1, -1):
        low, high = bounds(steered, base, sign)
        means = []
        for a, b, c in itertools.product((0.0, 37.0, 100.0), repeat=3):
            full_steered, full_base = steered.copy(), base.copy()
            full_steered[1], full_steered[3], full_base[3] = a, b, c
            means.append(sign * float((full_steered - full_base).mean()))
        assert (low, high) == pytest.approx((min(means), max(means)))


def test_without_missing_scores_the_bounds_are_the_delta():
    steered, base = np.array([90.0, 10, 50]), np.array([10.0, 20, 30])
    assert bounds(steered, base) == pytest.approx((90 / 3, 90 / 3))
    assert bounds(steered, base, -1) == pytest.approx((-30, -30))


def test_means_and_shares_are_over_the_scored_answers_and_none_if_there_are_none():
    values = np.array([10.0, NAN, -40.0, 9.9])
    assert mean(values) == pytest.approx(-20.1 / 3)
    assert moved(values) == pytest.approx({"wanted": 1 / 3, "not_moved": 1 / 3, "opposite": 1 / 3})
    assert str(moved(np.array([50.0] * 9 + [-50.0]))["not_moved"]) == "0.0", "1 - 0.9 - 0.1 is below 0"
    assert mean(np.array([NAN])) is None
    assert moved(np.array([NAN])) == {"wanted": None, "not_moved": None, "opposite": None}


def test_the_gain_of_the_selected_best_is_unbiased_on_held_out_questions_and_inflated_on_the_others():
    """400 studies of 4 equal layers and 6 doses: the best of 24 noisy runs looks better than it is on the questions by which it was chosen.

    On held-out questions the mean error is within 3 standard errors of 0; on the others it is more than 10 above."""
    response = Response(top=0.4, fall=0.15)
    on_selection, on_test = [], []
    for study in range(400):
        names = [f"{layer}" for layer in range(4)]
        search = Search(names, budget=6)
        seen: dict[tuple[str, float], float] = {}
        while asked := search.next_round():
            for cell, r in asked:
                joint_share, error, coherence = response.evaluate(r, 24, seed=1000 * study + int(cell))
                search.record(cell, r, objective=joint_share, spread=error, coherence=coherence)
                seen[cell, r] = joint_share
        chosen = max(((cell, search.best(cell)) for cell in names), key=lambda one: seen[one])  # type: ignore[index]
        assert chosen[1] is not None
        truth = response.joint(chosen[1])
        on_selection.append(seen[chosen[0], chosen[1]] - truth)
        on_test.append(response.evaluate(chosen[1], 48, seed=1000 * study + 500)[0] - truth)
    errors = np.array([on_selection, on_test])
    selection, test = errors.mean(1) / (errors.std(1, ddof=1) / np.sqrt(errors.shape[1]))
    assert abs(test) < 3
    assert selection > 10
