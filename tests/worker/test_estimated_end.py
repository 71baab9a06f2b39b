"""The estimated end of a running job comes from its pace in this phase and from the time that later phases take."""

import pytest

from workers.heartbeat import Phase


@pytest.mark.parametrize("beginning", [0.0, 25.0, 60.0])
@pytest.mark.parametrize("generation", [60.0, 420.0])
@pytest.mark.parametrize("measuring", [20.0, 60.0, 300.0])
def test_after_a_fifth_of_the_job_the_time_left_is_right_within_a_factor_of_1_5(
    beginning: float, generation: float, measuring: float
) -> None:
    """A calibration of 6400 tokens, in seconds: `beginning` until the first token, `generation`, then `measuring`, which was timed beforehand
    (10 % too long here). The estimate must hold for every share of these; before the first token there is none."""
    phase = Phase("generating", 6400, "tokens", 600.0, 0.8, 0.0, 0.0, after=1.1 * measuring)
    whole = beginning + generation + measuring
    named = 0
    for second in range(1, int(beginning + generation)):
        if second > beginning:
            phase.move(int(6400 * (second - beginning) / generation), second)
        left = phase.seconds_left(second)
        named += left is not None
        if left is not None and second > 0.2 * whole:
            assert (whole - second) / 1.5 < left < (whole - second) * 1.5
    assert named > 0.9 * generation


def test_one_finished_unit_gives_an_estimate_if_it_is_one_of_a_few() -> None:
    few, many = (Phase("scoring", total, "runs", 600.0, 1.0, 0.0, 0.0) for total in (10, 6400))
    for phase in (few, many):
        phase.move(1, 30.0)
    assert few.seconds_left(30.0) == pytest.approx(270)
    assert many.seconds_left(30.0) is None
    few.move(2, 40.0)
    assert few.seconds_left(40.0) == pytest.approx(80)


def test_units_from_an_earlier_attempt_do_not_count_toward_the_pace() -> None:
    phase = Phase("generating", 100, "tokens", 600.0, 1.0, 0.0, 0.0)
    phase.move(60, 1.0, kept=True)
    assert phase.seconds_left(10.0) is None, "nothing was done in this attempt"
    phase.move(70, 11.0)
    assert phase.seconds_left(11.0) == pytest.approx(30)


def test_a_small_phase_says_nothing_of_the_phases_after_it() -> None:
    """Reading for a judge is about 3 % of a steering: one slow piece must not become hours."""
    phase = Phase("reading", 11856, "tokens", 600.0, 0.03, 0.1, 0.0)
    for second in range(10, 100, 10):
        phase.move(60 * second, second)
        assert phase.seconds_left(second) is None


def test_without_a_measured_rest_the_share_of_the_phase_gives_the_time_left() -> None:
    phase = Phase("generating", 100, "tokens", 600.0, 0.8, 0.0, 0.0)
    phase.move(10, 8.0)
    phase.move(50, 40.0)
    # 40 s for the other half of this phase, which takes 80 s and is 0.8 of the job; later phases are 0.2
    assert phase.seconds_left(40.0) == pytest.approx(40 + 80 * 0.2 / 0.8)
