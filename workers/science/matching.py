"""Doses at which vectors are comparable: equal coherence, or equal divergence from the unsteered model (science: Scores)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 2.0
FIRST_TOKENS = 20


class CoherenceMatch:
    """Bisects, on a log scale, for the largest dose whose coherence lies within the tolerance of the target."""

    def __init__(
        self,
        known: Mapping[float, float],
        *,
        target: float,
        tolerance: float = TOLERANCE,
        low: float = 0.05,
        high: float = 4.0,
        budget: int = 4,
    ) -> None:
        self._known = dict(known)
        self._target, self._tolerance = target, tolerance
        self._low, self._high, self._left = low, high, budget

    def next(self) -> float | None:
        """The next dose to run; None when the dose is found, cannot be, or the budget is used."""
        if self.found is not None or self._left == 0:
            return None
        above = [r for r, coherence in self._known.items() if coherence > self._target + self._tolerance]
        below = [r for r, coherence in self._known.items() if coherence < self._target - self._tolerance]
        low = max(above, default=None)
        high = min((r for r in below if low is None or r > low), default=None)
        if low is None and high is None:
            return None
        if low is None:
            assert high is not None
            return high / 2 if high / 2 >= self._low else None
        if high is None:
            return min(2 * low, self._high) if low < self._high * 0.999 else None
        return math.sqrt(low * high) if high / low > 1.01 else None

    def record(self, r: float, coherence: float) -> None:
        """What a dose gave on the selection questions."""
        self._known[r] = coherence
        self._left -= 1

    @property
    def found(self) -> float | None:
        """The largest dose run whose coherence is within the tolerance."""
        return max((r for r, coherence in self._known.items() if abs(coherence - self._target) <= self._tolerance), default=None)


class DivergenceMatch:
    """Bisects for the dose whose p95 divergence equals a target within 5 %; divergence grows with dose."""

    def __init__(self, *, target: float, low: float = 0.02, high: float = 6.0, budget: int = 10, tolerance: float = 0.05) -> None:
        self._target, self._tolerance = target, tolerance
        self._low, self._high, self._left = low, high, budget
        self._known: dict[float, float] = {}

    def next(self) -> float | None:
        """The next dose to measure; None when found, out of reach, or the budget is used."""
        if self.found is not None or self._left == 0:
            return None
        if not self._known:
            return math.sqrt(self._low * self._high)
        under = max((r for r, kl in self._known.items() if kl < self._target), default=self._low)
        over = min((r for r, kl in self._known.items() if kl > self._target and r > under), default=self._high)
        return math.sqrt(under * over) if over / under > 1.005 else None

    def record(self, r: float, divergence: float) -> None:
        """What a dose gave, in nats."""
        self._known[r] = divergence
        self._left -= 1

    @property
    def found(self) -> float | None:
        """The dose run that is nearest to the target, if it is within the tolerance."""
        near = [r for r, kl in self._known.items() if abs(kl - self._target) <= self._tolerance * self._target]
        return min(near, key=lambda r: abs(self._known[r] - self._target), default=None)


def p95(divergences: Sequence[NDArray[np.float64]], first: int = FIRST_TOKENS) -> float:
    """The 95th percentile over all questions' first tokens, nats; 0 without any token."""
    tokens = np.concatenate([one[:first] for one in divergences]) if len(divergences) else np.empty(0)
    return float(np.percentile(tokens, 95)) if len(tokens) else 0.0
