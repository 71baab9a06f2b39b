"""Axes of the plots: each has ticks enough to read a value from it."""

import math

import pytest

from app.pages.plots.scales import linear, logarithmic


@pytest.mark.parametrize("ratio", [1.0, 1.01, 1.2, 1.5, 2.1, 3.0, 4.9, 10.0, 300.0, 1e9])
def test_a_logarithmic_axis_has_ticks_however_short_it_is(ratio: float) -> None:
    """One tick shows no distance, and two ticks of one label contradict each other. The lows are spread evenly over seven decades."""
    for low in (10 ** (exponent / 37) for exponent in range(-111, 149)):
        axis = logarithmic([low, low * ratio], 0.0, 100.0)
        ticks = axis.ticks()
        assert 2 <= len(ticks) <= 11, (low, ticks)
        assert all(axis.low <= tick <= axis.high for tick in ticks), (low, ticks)
        assert len({label for _, label in axis.labels()}) == len(ticks), (low, ticks)


@pytest.mark.parametrize("values", [(126, 127), (0.9991, 0.9999), (-5000.1, -5000.0), (12_345.0, 12_346.0)])
def test_no_two_ticks_of_a_short_axis_have_one_label(values: tuple[float, float]) -> None:
    """Layers 126 and 127 had the ticks 126, 126 and 127."""
    labels = linear(values, 0.0, 100.0).labels()
    assert len({label for _, label in labels}) == len(labels) >= 3
    assert [float(label.replace(",", "")) for _, label in labels] == pytest.approx([tick for tick, _ in labels], rel=1e-12)


def test_small_values_are_not_labelled_0() -> None:
    """Everything below 1e-12 was labelled 0, as if it were a rounding error: three ticks had the same label."""
    labels = [label for _, label in linear([1e-14, 9e-14], 0.0, 100.0, zero=True).labels()]
    assert labels == ["0", "2e-14", "4e-14", "6e-14", "8e-14"]


def test_labels_have_no_more_digits_than_they_need() -> None:
    assert [label for _, label in linear([-40, 95], 0.0, 100.0, zero=True).labels()] == ["0", "50", "100"]
    assert [label for _, label in logarithmic([90, 20_000], 0.0, 100.0).labels()] == ["100", "1,000", "10,000"]


def test_a_small_value_on_a_logarithmic_axis_is_not_labelled_0() -> None:
    """Such an axis holds no 0."""
    axis = logarithmic([2e-15, 1e-10], 0.0, 100.0)
    assert [float(label) for _, label in axis.labels()] == pytest.approx(axis.ticks(), rel=1e-9, abs=0)


def test_a_short_logarithmic_axis_shows_round_numbers() -> None:
    assert logarithmic([6.4 * 1.1, 7.7 / 1.1], 0.0, 100.0).ticks() == pytest.approx([6.5, 7.0, 7.5])
    long = logarithmic([0.03, 4000.0], 0.0, 100.0).ticks()
    assert [math.log10(tick) for tick in long] == pytest.approx([-1, 0, 1, 2, 3])
