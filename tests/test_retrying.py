"""A call is repeated after errors of one kind, after the pauses that it is given; a test is repeated until it is true or its time is over."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from app import retrying
from app.retrying import comes_true, retried


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds slept so far; the clock moves by these alone."""
    slept: list[float] = []
    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=slept.append, monotonic=lambda: sum(slept)))
    return slept


def raising(*errors: Exception) -> Callable[[], str]:
    """A function that raises these errors, one in each call, then returns "done"."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_a_call_is_repeated_after_the_pauses_given(pauses: list[float]) -> None:
    given = iter([0.5, 2.0])
    assert retried(raising(KeyError(1), KeyError(2)), KeyError, lambda _: next(given, None)) == "done"
    assert pauses == [0.5, 2.0]


def test_the_error_after_the_last_pause_is_raised_without_those_before(pauses: list[float]) -> None:
    given = iter([0.5])
    with pytest.raises(KeyError, match="2") as last:
        retried(raising(KeyError(1), KeyError(2)), KeyError, lambda _: next(given, None))
    assert (pauses, last.value.__context__) == ([0.5], None)


def test_an_error_of_another_kind_is_raised_at_once(pauses: list[float]) -> None:
    with pytest.raises(ValueError, match="no"):
        retried(raising(ValueError("no")), KeyError, lambda _: 1.0)
    assert pauses == []


def test_a_test_is_repeated_until_it_is_true_or_the_time_is_over(pauses: list[float]) -> None:
    assert comes_true(lambda: len(pauses) == 3, 10, every=1)
    assert pauses == [1, 1, 1]
    pauses.clear()
    assert not comes_true(lambda: False, 2, every=1)
    assert pauses == [1, 1]
    assert comes_true(lambda: True, 0, every=1), "it is asked once, whatever the time"
