"""Axes of the plots: each has ticks enough to read a value from it."""

import math

import pytest

from app.pages.plots.scales import logarithmic, words


@pytest.mark.parametrize("ratio", [1.0, 1.01, 1.2, 1.5, 2.1, 3.0, 4.9, 10.0, 300.0, 1e9])
def test_a_logarithmic_axis_has_ticks_however_short_it_is(ratio: float) -> None:
    """One tick shows no distance, and two ticks of one label contradict each other. The lows are spread evenly over seven decades."""
    for low in (10 ** (exponent / 37) for exponent in range(-111, 149)):
        axis = logarithmic([low, low * ratio], 0.0, 100.0)
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 11, (low, ticks)
        assert all(axis.low <= tick <= axis.high for tick in ticks), (low, ticks)
        assert len({words(tick) for tick in ticks}) == len(ticks), (low, ticks)


def test_a_short_logarithmic_axis_shows_round_numbers() -> None:
    assert logarithmic([6.4 * 1.1, 7.7 / 1.1], 0.0, 100.0).ticks() == pytest.approx([6.5, 7.0, 7.5])
    long = logarithmic([0.03, 4000.0], 0.0, 100.0).ticks()
    assert [math.log10(tick) for tick in long] == pytest.approx([-1, 0, 1, 2, 3])
