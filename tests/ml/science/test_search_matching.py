"""Doses from coefficients and back, and the searches for a dose at an equal coherence and at an equal divergence."""

import math

import numpy as np
import pytest

from workers.science.dose import coefficient_of, dose_of
from workers.science.matching import FIRST_TOKENS, CoherenceMatch, DivergenceMatch, p95


def test_equal_doses_push_equally_hard_outside_the_massive_dims():
    """A mean_diff with a clean share of 0.477 needs 2.1 times the probe's coefficient (in the reference 2500 for 1193)."""
    probe, diluted = coefficient_of(1.065, 1.0, 1120.0), coefficient_of(1.065, 0.477, 1120.0)
    assert probe is not None
    assert diluted is not None
    assert probe == pytest.approx(1192.8)
    assert diluted * 0.477 == pytest.approx(probe)
    assert diluted == pytest.approx(2500, rel=0.001)


@pytest.mark.parametrize("share", [0.1, 0.23, 1.0])
def test_dose_and_coefficient_are_each_others_inverse(share):
    c = coefficient_of(0.8, share, 37.5)
    assert c is not None
    assert dose_of(c, share, 37.5) == pytest.approx(0.8, rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.0999])  # of the norm: below 0.1 is a hundredth of its square
def test_a_vector_with_less_than_a_hundredth_outside_the_massive_dims_has_no_dose(share):
    assert coefficient_of(1.0, share, 10.0) is None
    assert math.isnan(dose_of(1.0, share, 10.0))


def coherence(r: float, cliff: float = 1.0, fall: float = 0.2) -> float:
    """A coherence of 95 that falls to half at the cliff."""
    return 95 / (1 + math.exp(math.log(r / cliff) / fall))


def run_coherence(state: CoherenceMatch, curve) -> list[float]:
    """Runs the search on `curve` to its end; returns its doses."""
    ran = []
    while (r := state.next()) is not None:
        state.record(r, curve(r))
        ran.append(r)
    return ran


@pytest.mark.parametrize("target", [80.0, 70.0, 40.0])
def test_the_largest_dose_within_two_points_of_the_target_is_found(target):
    """Starts from the doses of a search. The true largest dose is where the curve is 2 points under the target."""
    state = CoherenceMatch({r: coherence(r) for r in (0.3, 0.6, 1.2)}, target=target, budget=12)
    run_coherence(state, coherence)
    assert state.found is not None
    assert abs(coherence(state.found) - target) <= 2
    largest = math.exp(0.2 * math.log(95 / (target - 2) - 1))
    assert largest / 1.05 < state.found <= largest
    assert state.unreachable is None


def test_a_coherence_that_jumps_over_the_target_is_unreachable_and_named_with_both_doses():
    state = CoherenceMatch({0.6: 95.0, 1.2: 20.0}, target=70.0, budget=20)
    ran = run_coherence(state, lambda r: 90.0 if r < 0.9 else 30.0)
    assert state.found is None
    assert len(ran) < 12  # it ends when the jump is within 1 % of dose
    assert "falls from 90 at r = 0.89" in str(state.unreachable)
    assert "to 30 at r = 0.90" in str(state.unreachable)


def test_a_vector_that_stays_more_coherent_than_the_target_is_unreachable():
    state = CoherenceMatch({0.6: 95.0}, target=70.0)
    assert run_coherence(state, lambda r: 95.0) == [1.2, 2.4, 4.0]
    assert "still 95 at r = 4" in str(state.unreachable)


def test_a_vector_that_is_never_as_coherent_as_the_target_is_unreachable():
    state = CoherenceMatch({0.1: 50.0}, target=70.0)
    assert run_coherence(state, lambda r: 50.0) == [0.05]
    assert "no smaller dose" in str(state.unreachable)


@pytest.mark.parametrize("target", [0.01, 0.4, 3.0])
def test_a_divergence_that_grows_with_the_square_is_matched_in_few_measurements(target):
    state = DivergenceMatch(target=target)
    count = 0
    while (r := state.next()) is not None:
        state.record(r, 1.3 * r**2)
        count += 1
    assert state.found is not None
    assert 1.3 * state.found**2 == pytest.approx(target, rel=0.05)
    assert count <= 4


def test_a_divergence_that_saturates_below_the_target_is_not_reached():
    state = DivergenceMatch(target=5.0)
    ran = []
    while (r := state.next()) is not None:
        state.record(r, 2 * math.tanh(r))
        ran.append(r)
    assert state.found is None
    assert max(ran) == 6.0
    assert state.unreachable == "a divergence of 5 nats is not reached: it is still 2 at r = 6"


def test_a_divergence_that_jumps_over_the_target_is_unreachable_and_named_with_both_doses():
    state = DivergenceMatch(target=1.0)
    while (r := state.next()) is not None:
        state.record(r, 0.1 if r < 0.5 else 3.0)
    assert str(state.unreachable).startswith("a divergence of 1 nats is not reached: it rises from 0.1 at r = 0.4")
    assert " to 3 at r = 0.5" in str(state.unreachable)


def test_the_search_for_a_divergence_ends_for_a_vector_that_does_nothing():
    state = DivergenceMatch(target=1.0)
    count = 0
    while (r := state.next()) is not None:
        state.record(r, 0.0)
        count += 1
    assert state.found is None
    assert count <= 10


def test_p95_is_over_the_first_tokens_of_all_answers():
    """By hand on the same values; later tokens and empty answers do not count."""
    rng = np.random.default_rng(0)
    answers = [rng.exponential(size=n) for n in (5, 20, 60)] + [np.empty(0)]
    expected = sorted([*answers[0], *answers[1], *answers[2][:FIRST_TOKENS]])
    place = 0.95 * (len(expected) - 1)
    below = math.floor(place)
    by_hand = expected[below] + (place - below) * (expected[below + 1] - expected[below])
    assert p95(answers) == pytest.approx(by_hand, rel=1e-12)
    assert p95([]) == 0


@pytest.mark.parametrize(
    ("infinite", "expected"), [(1, 0.3), (9, 0.3), (10, math.inf), (11, math.inf), (20, math.inf), (200, math.inf)]
)
def test_tokens_without_a_finite_divergence_count_as_the_largest(infinite, expected):
    """Of 200 values the 95th percentile lies between the 190th and the 191st: infinite from the 10th infinite token on. numpy gave NaN."""
    tokens = np.full(200, 0.3)
    tokens[:infinite] = np.inf
    assert p95(list(tokens.reshape(10, 20))) == expected


def test_a_percentile_that_is_one_of_the_values_does_not_depend_on_the_next():
    """Of 21 values it is the 20th; numpy's share of 0 of an infinite 21st made it NaN."""
    values = [*(0.1 * i for i in range(20)), math.inf]
    assert p95([np.array(values[:20]), np.array(values[20:])]) == pytest.approx(1.9)


@pytest.mark.parametrize("broken", [math.inf, math.nan])
def test_a_dose_that_breaks_the_model_matches_nothing_and_is_too_large(broken):
    divergent = DivergenceMatch({0.1: 0.05, 0.5: broken}, target=0.5)
    assert divergent.found is None
    following = divergent.next()
    assert following is not None
    assert 0.1 < following < 0.5
    assert DivergenceMatch({0.5: broken}, target=0.5).next() == pytest.approx(0.5 / 4)
    coherent = CoherenceMatch({0.1: 90.0, 0.5: math.nan}, target=80.0)
    assert coherent.found is None
    assert coherent.next() == pytest.approx(math.sqrt(0.1 * 0.5))


def test_negative_doses_are_searched_as_their_sizes_are():
    """The mirror image of a search runs the mirror image of its doses; doses of the other sign do not count. By hand: 80 at -1 matches, the
    next dose lies between -1 and -2. The dose of the least size counted as the largest before."""
    known = {0.5: 81.0, 1.0: 80.0, 2.0: 60.0}
    plain = CoherenceMatch(known, target=80.0)
    mirrored = CoherenceMatch({-r: value for r, value in known.items()} | {0.7: 0.0, 3.0: 80.0}, target=80.0, sign=-1)
    assert mirrored.found == -1
    assert mirrored.next() == pytest.approx(-math.sqrt(2))
    assert run_coherence(mirrored, lambda r: coherence(-r)) == [-r for r in run_coherence(plain, coherence)]
    assert mirrored.found == -(plain.found or 0)
    far = CoherenceMatch({-0.1: 50.0}, target=70.0, budget=0, sign=-1)
    assert far.unreachable == "coherence 70 +-2 is not reached: it is 50 at r = -0.1 and no smaller dose was coherent enough"


def test_a_negative_dose_of_equal_divergence_is_sought_on_its_own_side():
    """An empty search began at a positive dose, and so compared opposite pushes."""
    ran = {}
    for sign in (1, -1):
        state = DivergenceMatch({-sign * 0.5: 0.4}, target=0.4, sign=sign)
        ran[sign] = []
        while (r := state.next()) is not None:
            state.record(r, 1.3 * r**2)
            ran[sign].append(r)
        assert state.found is not None
        assert sign * state.found == pytest.approx(math.sqrt(0.4 / 1.3), rel=0.05)
    assert ran[-1] == [-r for r in ran[1]]
