"""Finds doses at which vectors are comparable: equal coherence, or equal divergence from the unsteered model (science.md, 4.5).

Both are state machines like the search: `next` is the dose to run, `record` stores its result, `found` is a dose that was run. Divergence grows
as r^2 at small doses, so its next dose is interpolated on logarithmic scales; coherence falls off a cliff, so it is bisected. Equal r, matched
dose, needs no search.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from workers.science.linalg import Float

COHERENCE_TOLERANCE = 2.0
"""Tolerance in points."""
DIVERGENCE_TOLERANCE = 0.05
"""Tolerance as a share of the target."""
FIRST_TOKENS = 20
CLOSE = 1.05
"""Two doses with a smaller ratio count as equal: no larger match is searched between them."""
CLIFF = 1.01
"""If coherence jumps over the target within this ratio of doses, no dose matches it."""


class _Match(ABC):
    """A bracket of two doses: the push is too small at the lower dose and too large at the upper. All doses have one sign: a push and its
    opposite are not compared. Inside, r is their size."""

    def __init__(self, known: Mapping[float, float], low: float, high: float, budget: int, sign: int) -> None:
        self._known = {abs(r): value for r, value in known.items() if sign * r > 0}
        self._low, self._high, self._left, self._sign = low, high, budget, sign

    def next(self) -> float | None:
        """The next dose to run; None where the search has ended."""
        return self._signed(self._next())

    def record(self, r: float, value: float) -> None:
        """Records the result of a dose on the selection questions."""
        self._known[abs(r)] = value
        self._left -= 1

    @property
    def found(self) -> float | None:
        """The dose that was run and matches; None without one."""
        return self._signed(self._found())

    def _signed(self, r: float | None) -> float | None:
        return None if r is None else self._sign * r

    @abstractmethod
    def _side(self, value: float) -> int:
        """-1 where the dose is too small, 0 where it matches, 1 where it is too large, which a value of NaN says, too."""

    @abstractmethod
    def _next(self) -> float | None:
        """The next dose to run."""

    @abstractmethod
    def _found(self) -> float | None:
        """The dose that was run and matches."""

    @abstractmethod
    def _words(self) -> tuple[str, str, str, str]:
        """The target in words, how values are written, which doses are missing below, and how values change with the dose."""

    @property
    def unreachable(self) -> str | None:
        """The reason why no dose matches; None where a dose matches."""
        if self.found is not None:
            return None
        aim, written, missing, moves = self._words()
        below, above = self._bracket(-1)
        values = {r: self._known[r] for r in (below, above) if r is not None}
        at = {
            r: f"{'without a score' if math.isnan(value) else f'{value:{written}}'} at r = {self._sign * r:.3g}"
            for r, value in values.items()
        }
        if below is not None and above is not None:
            return f"{aim} is not reached: it {moves} from {at[below]} to {at[above]}"
        if below is not None:
            return f"{aim} is not reached: it is still {at[below]}"
        return f"{aim} is not reached: " + (
            "nothing was run" if above is None else f"it is {at[above]} and no smaller dose {missing}"
        )

    def _of_side(self, *sides: int) -> list[float]:
        return [r for r, value in self._known.items() if self._side(value) in sides]

    def _bracket(self, *too_small: int) -> tuple[float | None, float | None]:
        """The largest dose with one of these sides, and the smallest dose above it that is too large."""
        below = max(self._of_side(*too_small), default=None)
        above = min((r for r in self._of_side(1) if below is None or r > below), default=None)
        return below, above


class CoherenceMatch(_Match):
    """Finds the largest dose with a coherence within the tolerance of the target. `sign` is that of the doses."""

    def __init__(
        self,
        known: Mapping[float, float],
        *,
        target: float,
        tolerance: float = COHERENCE_TOLERANCE,
        low: float = 0.05,
        high: float = 4.0,
        budget: int = 4,
        sign: int = 1,
    ) -> None:
        """`known` are coherences by dose from the search; up to `budget` more doses may be run."""
        super().__init__(known, low, high, budget, sign)
        self._target, self._tolerance = target, tolerance

    def _side(self, value: float) -> int:
        return int(not value >= self._target - self._tolerance) - int(value > self._target + self._tolerance)

    def _next(self) -> float | None:
        """The next dose to run; None when the largest match is found, no match is possible, or the budget is used."""
        if self._left <= 0:
            return None
        below, above = self._bracket(-1, 0)
        if below is None:
            return None if above is None or above <= self._low else max(above / 2, self._low)
        if above is None:
            return None if below >= self._high else min(2 * below, self._high)
        return math.sqrt(below * above) if above / below > (CLIFF if self.found is None else CLOSE) else None

    def _found(self) -> float | None:
        """The largest dose that was run and has a matching coherence."""
        return max(self._of_side(0), default=None)

    def _words(self) -> tuple[str, str, str, str]:
        return f"coherence {self._target:.0f} +-{self._tolerance:g}", ".0f", "was coherent enough", "falls"


class DivergenceMatch(_Match):
    """Finds the dose with a divergence, in nats, within a share of the target. `sign` is that of the doses."""

    def __init__(
        self,
        known: Mapping[float, float] | None = None,
        *,
        target: float,
        low: float = 0.02,
        high: float = 6.0,
        budget: int = 10,
        tolerance: float = DIVERGENCE_TOLERANCE,
        sign: int = 1,
    ) -> None:
        super().__init__(known or {}, low, high, budget, sign)
        self._target, self._tolerance = target, tolerance

    def _side(self, value: float) -> int:
        return int(not value <= self._target * (1 + self._tolerance)) - int(value < self._target * (1 - self._tolerance))

    def _next(self) -> float | None:
        """The next dose to measure; None when a match is found or the budget is used, and where none can match: the largest dose is below the
        target, the smallest is above it, or divergence jumps over it."""
        if self.found is not None or self._left <= 0:
            return None
        if not self._known:
            return math.sqrt(self._low * self._high)
        below, above = self._bracket(-1)
        if above is None and below is not None and below >= self._high:
            return None
        if below is None and above is not None and above <= self._low:
            return None
        return self._between(below, above)

    def _between(self, below: float | None, above: float | None) -> float | None:
        """The dose where the line through both ends, ln divergence over ln r, meets the target; with one end open, assumes r^2 from the other
        end."""
        if below is None or above is None:
            end = above if below is None else below
            assert end is not None
            step = 4.0 if self._known[end] == 0 else math.sqrt(self._target / self._known[end])
            # a bound named first stands against NaN
            return min(max(end * min(max(0.25, step), 4.0), self._low), self._high)
        if above / below < CLIFF:
            return None
        share = 0.5
        if self._known[below] > 0:
            rise = math.log(self._known[above] / self._known[below])
            share = min(max(0.1, math.log(self._target / self._known[below]) / rise), 0.9)
        return math.exp(math.log(below) + share * math.log(above / below))

    def _found(self) -> float | None:
        """The dose that was run and is nearest to the target, if it is within the tolerance."""
        return min(self._of_side(0), key=lambda r: abs(self._known[r] - self._target), default=None)

    def _words(self) -> tuple[str, str, str, str]:
        return f"a divergence of {self._target:.3g} nats", ".3g", "diverged less", "rises"


def p95(divergences: Sequence[Float], first: int = FIRST_TOKENS) -> float:
    """The 95th percentile in nats over the first tokens of all questions; 0 without any token, inf where it lies between a number and inf. One
    array [T] of divergences per question."""
    tokens = np.concatenate([nats_T[:first] for nats_T in divergences]) if len(divergences) else np.empty(0)
    if not len(tokens):
        return 0.0
    with np.errstate(invalid="ignore"):
        between = float(np.percentile(tokens, 95))
    # numpy interpolates to NaN beside an infinity
    return float(np.percentile(tokens, 95, method="higher")) if math.isnan(between) else between
