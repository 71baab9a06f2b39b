"""When a running job will end: by its pace in this phase, and by what later phases take."""

import pytest

from workers.heartbeat import Phase


@pytest.mark.parametrize("generation", [60.0, 420.0])
@pytest.mark.parametrize("measuring", [20.0, 60.0, 300.0])
def test_after_a_fifth_of_the_job_the_end_is_known_within_a_factor_of_one_and_a_half(generation: float, measuring: float) -> None:
    """Measuring takes a twentieth of some calibrations and more than half of others; where it was timed first, the end does not depend on it."""
    phase = Phase("generating", 6400, "tokens", 600.0, 0.8, 0.0, 0.0, after=1.1 * measuring)
    for passed in (0.2 * (generation + measuring), 0.9 * generation):
        if passed < generation:
            phase.done = int(6400 * passed / generation)
            left = phase.seconds_left(passed)
            true = generation + measuring - passed
            assert left is not None
            assert true / 1.5 < left < true * 1.5


def test_without_a_measured_rest_the_shares_say_what_is_left() -> None:
    phase = Phase("generating", 100, "tokens", 600.0, 0.8, 0.0, 0.0, done=50)
    assert phase.seconds_left(40.0) == pytest.approx(40 + 80 * 0.2 / 0.8)
