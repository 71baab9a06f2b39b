"""The dose search (science.md, 4.4): chooses every cell's next dose from the recorded evaluations alone.

A cell is a vector at a layer. Answers are coherent up to a cliff near r = 1 and the gain rises toward it, so the best dose lies below the cliff,
and how far below differs by vector. On a logarithmic scale each cell
  1. brackets the cliff: from 0.6 up by a factor of 2 while coherent, down to the middle of the remaining range while not;
  2. tries one of the two gaps next to its best dose, the gap with the larger possible gain times its width. The possible gain above the
     best dose is at most what coherent answers have not reached yet; below it, at most what lost coherence costs at the best dose. Where
     no more gain is possible it searches below, for the smallest dose that is enough.
Real dose-response curves are sawtoothed, so `best` is a dose that was run. All cells advance together: each round requests one dose per cell.

The state is the recorded evaluations alone: a round that is requested twice is the same round, and a restarted job records its stored
evaluations again and continues. Time never influences a choice. Independent of models and judges.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

START, UP = 0.6, 2.0
"""First dose and the upward factor: among 9 pairs, one of those with the least regret on tests/ml/science/dose_responses.py."""
FEWEST = 3
"""The smallest number of evaluations per cell, so that each cell has a curve to report."""
NARROW = 0.04
"""Gaps under 4 % are not searched: the sawtooth is wider."""
LOOKED_CLOSELY = 0.5
"""Width, in ln r, of the gaps next to the best dose from which a cell may be given up."""
SAME = 5.0
"""Points below the ceiling within which no more gain is possible: about one answer of 24."""
UNSCORED = "the judge scored no dose"
"""Why a cell has no best dose."""
LEAST_TO_GAIN, LEAST_SPREAD = 3.0, 5.0
"""Lower bounds in points, of a gap's possible gain and of an objective's error: 0 of 24 answers is still consistent with 1 in 8."""


@dataclass(frozen=True)
class Evaluation:
    """The result of one dose on the selection questions: the objective (joint gain) and its standard error in points, and the mean coherence.

    A dose that was not `scored` counts as too large, and is never the best.
    """

    objective: float
    spread: float
    coherence: float
    scored: bool = True


@dataclass
class _Cell:
    group: str
    ceiling: float
    seen: dict[float, Evaluation] = field(default_factory=dict)

    @property
    def best(self) -> float | None:
        """The scored dose with the largest objective; ties go to the more coherent dose, then to the smaller. None without a scored dose.

        Where no more gain is possible, the smallest dose that reaches it to within SAME, because a larger push only adds side effects.
        """
        scored = [r for r, evaluation in self.seen.items() if evaluation.scored]
        saturated = [r for r in scored if self.seen[r].objective >= self.ceiling - SAME]
        if saturated:
            return min(saturated)
        return max(scored, key=lambda r: (self.seen[r].objective, self.seen[r].coherence, -r), default=None)


class Search:
    """Chooses the doses of each cell: run the doses of `next_round`, `record` each, and repeat until a round is empty."""

    def __init__(
        self,
        cells: Sequence[str],
        *,
        budget: int = 6,
        low: float = 0.1,
        high: float = 4.0,
        threshold: float = 70.0,
        groups: Mapping[str, str] | None = None,
        ceiling: float = 100.0,
    ) -> None:
        """`budget` evaluations per cell; doses from `low` to `high`; a mean coherence of `threshold` counts as coherent.

        `groups` names the group of each cell: a cell is given up only in favour of another in its group (such as the layers of a method), since
        methods that are compared need the same effort. Without `groups` no cell is given up. `ceiling` is the largest possible objective: 100
        minus the share that the unsteered answers already reach. Raises ValueError for impossible bounds.
        """
        if not (0 < low < high and budget > 0):
            raise ValueError(f"the search needs 0 < low < high and a budget of at least 1, not {low}, {high} and {budget}")
        self._cells = {cell: _Cell(groups[cell] if groups else cell, ceiling) for cell in cells}
        self._budget, self._low, self._high, self._threshold = budget, low, high, threshold

    def next_round(self) -> list[tuple[str, float]]:
        """(cell, dose) of the next evaluations, at most one per cell; empty when the search has ended."""
        asked = ((name, self._next(cell)) for name, cell in self._cells.items())
        return [(name, dose) for name, dose in asked if dose is not None]

    def record(self, cell: str, r: float, *, objective: float, spread: float, coherence: float) -> None:
        """Records one evaluation. A NaN spread (one cluster) counts as 0; with a NaN objective or coherence (the judge could not score) the dose
        counts as too large, and is never the best."""
        self._cells[cell].seen[r] = Evaluation(
            0.0 if math.isnan(objective) else objective,
            0.0 if math.isnan(spread) else spread,
            0.0 if math.isnan(coherence) else coherence,
            not math.isnan(objective + coherence),
        )

    @property
    def done(self) -> bool:
        """Whether no evaluation is left to run."""
        return not self.next_round()

    def best(self, cell: str) -> float | None:
        """The dose to use, which is a dose that was run; None before the first that was scored."""
        return self._cells[cell].best

    def stopped(self, cell: str) -> str | None:
        """The reason why the search has dropped a cell; None while it runs the cell."""
        state = self._cells[cell]
        if state.seen and state.best is None and self._next(state) is None:
            return UNSCORED
        if len(state.seen) >= self._budget:
            return "budget used"
        if self._given_up(state):
            return "cannot reach the leader of its group"
        if self._next(state) is not None:
            return None
        return "no gap left to search" if self._coherent(state) else f"incoherent down to r = {min(state.seen):g}"

    def _next(self, cell: _Cell) -> float | None:
        if len(cell.seen) >= self._budget or self._given_up(cell):
            return None
        if not cell.seen:
            return min(max(START, self._low), self._high)
        coherent = self._coherent(cell)
        if len(coherent) == len(cell.seen) and max(coherent) < self._high:
            return min(max(coherent) * UP, self._high)
        if not coherent:
            lowest = min(cell.seen)
            if lowest <= self._low:
                return None
            return math.sqrt(self._low * lowest) if lowest > 1.5 * self._low else self._low
        return self._beside_the_best(cell)

    def _coherent(self, cell: _Cell) -> list[float]:
        return [r for r, evaluation in cell.seen.items() if evaluation.coherence >= self._threshold]

    def _beside_the_best(self, cell: _Cell) -> float | None:
        """The middle of the gap next to the best dose with the larger possible gain; None where both gaps are narrow."""
        best = cell.best
        assert best is not None
        at_best = cell.seen[best]
        below, above = self._neighbours(cell, best)
        coherence_below = cell.seen[below].coherence if below in cell.seen else 100.0
        to_gain = {
            (best, above): min(cell.ceiling, at_best.coherence) - at_best.objective,
            (below, best): at_best.objective * (coherence_below / max(at_best.coherence, 1.0) - 1.0),
        }
        # in a tie the lower gap, hence the sign: a smaller push does less harm
        worth = [
            (math.log(high / low) * max(gain, LEAST_TO_GAIN), -math.sqrt(low * high))
            for (low, high), gain in to_gain.items()
            if math.log(high / low) > NARROW
        ]
        return -max(worth)[1] if worth else None

    def _neighbours(self, cell: _Cell, best: float) -> tuple[float, float]:
        """The doses run next to the best dose; where there was none, half of the best below and the best itself above."""
        doses = sorted(cell.seen)
        place = doses.index(best)
        below = doses[place - 1] if place else max(self._low, best / 2)
        return below, doses[place + 1] if place + 1 < len(doses) else best

    def _given_up(self, cell: _Cell) -> bool:
        """Whether the cell cannot reach the leader of its group, by the results of every cell after as many evaluations as this cell has."""
        rounds, best = len(cell.seen), cell.best
        if best is None or rounds < FEWEST or not self._looked_closely(cell, best):
            return False
        rivals = [
            rival for other in self._cells.values() if other.group == cell.group for rival in list(other.seen.values())[:rounds]
        ]
        reach = cell.seen[best].objective + 2 * max(cell.seen[best].spread, LEAST_SPREAD)
        return reach < max(rival.objective - rival.spread for rival in rivals)

    def _looked_closely(self, cell: _Cell, best: float) -> bool:
        below, above = self._neighbours(cell, best)
        cliff_seen = len(self._coherent(cell)) < len(cell.seen) or max(cell.seen) >= self._high
        return cliff_seen and max(math.log(best / below), math.log(above / best)) < LOOKED_CLOSELY
