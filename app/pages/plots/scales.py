"""Linear and logarithmic axes: map a number to a position, with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.pages.wording import number


@dataclass(frozen=True)
class Axis:
    """A linear or logarithmic axis from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Returns the position of a value; a value outside the axis, also 0 or less on a logarithmic axis, is placed at the nearer end."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Returns round values on the axis: about five if linear, two to eleven if logarithmic. A logarithmic axis too short for two powers of
        ten, or 2, 3 and 5 times these, has the ticks of a linear one.
        """
        powers = _powers(self.low, self.high) if self.log else []
        return powers if len(powers) > 1 else _steps(self.low, self.high)

    def labels(self) -> list[tuple[float, str]]:
        """Returns each tick with its label: three significant digits, more where two labels would be the same."""
        ticks = self.ticks()
        labels = [""]
        for digits in range(3, 16):
            labels = [number(value, digits) for value in ticks]
            if len(set(labels)) == len(labels):
                break
        return list(zip(ticks, labels, strict=True))


def linear(values: Sequence[float], start: float, end: float, *, zero: bool = False) -> Axis:
    """Returns an axis that covers all values with a margin, and zero on request."""
    shown = [*values, 0.0] if zero or not values else list(values)
    low, high = min(shown), max(shown)
    room = (high - low) * 0.04 or max(abs(high), 1.0) * 0.1
    return Axis(low - room, high + room, start, end)


def logarithmic(values: Sequence[float], start: float, end: float) -> Axis:
    """Returns a logarithmic axis that covers all positive values with a margin, a factor of 1.1, at each end."""
    shown = [value for value in values if value > 0] or [1.0]
    low, high = min(shown), max(shown)
    return Axis(low / 1.1, high * 1.1, start, end, log=True)


def _steps(low: float, high: float) -> list[float]:
    """Returns the multiples of a step from `low` to `high`. The step is 1, 2, 5 or 10 times a power of ten, at least a fifth of the range."""
    rough = (high - low) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step)
    return [count * step for count in range(first, math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Returns powers of ten from `low` to `high`; if there are fewer than three, also 3 times, or 2 and 5 times, these powers."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        powers = [factor * 10.0**decade for decade in decades for factor in factors if low <= factor * 10.0**decade <= high]
        if len(powers) >= 3:
            break
    return powers[:: max(1, len(powers) // 6)]
