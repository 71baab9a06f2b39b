"""When a running job will end: by its pace in this phase, and by what later phases take."""

import pytest

from workers.heartbeat import Phase


@pytest.mark.parametrize("beginning", [0.0, 25.0, 60.0])
@pytest.mark.parametrize("generation", [60.0, 420.0])
@pytest.mark.parametrize("measuring", [20.0, 60.0, 300.0])
def test_after_a_fifth_of_the_job_the_end_is_known_within_a_factor_of_one_and_a_half(
    beginning: float, generation: float, measuring: float
) -> None:
    """Measuring takes a twentieth of some calibrations and more than half of others; where it was timed first, the end does not depend on it.
    Nor does it depend on the time for reading the prompts, before the first token: while only that has passed, nothing is said."""
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


def test_one_unit_of_a_few_tells_with_its_beginning_and_of_many_it_tells_nothing() -> None:
    few, many = (Phase("scoring", total, "runs", 600.0, 1.0, 0.0, 0.0) for total in (10, 6400))
    for phase in (few, many):
        phase.move(1, 30.0)
    assert few.seconds_left(30.0) == pytest.approx(270)
    assert many.seconds_left(30.0) is None
    few.move(2, 40.0)
    assert few.seconds_left(40.0) == pytest.approx(80)


def test_what_was_kept_of_an_earlier_attempt_says_nothing_of_the_pace() -> None:
    phase = Phase("generating", 100, "tokens", 600.0, 1.0, 0.0, 0.0)
    phase.move(60, 1.0)
    phase.move(70, 11.0)
    assert phase.seconds_left(11.0) == pytest.approx(30)


def test_without_a_measured_rest_the_shares_say_what_is_left() -> None:
    phase = Phase("generating", 100, "tokens", 600.0, 0.8, 0.0, 0.0)
    phase.move(10, 8.0)
    phase.move(50, 40.0)
    assert phase.seconds_left(40.0) == pytest.approx(40 + 80 * 0.2 / 0.8)
