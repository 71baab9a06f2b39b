"""The dose search (science: Search): every cell's doses, round by round, chosen from what was recorded and from nothing else.

A cell is a vector at a layer. Doses are tried on a geometric scale. The coherence cliff lies between the largest dose that was coherent and
the smallest above it that was not; the useful dose lies below it, where the objective peaks. So each cell first brackets the cliff (up by
a factor while coherent, down while not), then halves the widest gap beside its best dose, on a log scale. All cells advance together.
A cell stops early when its objective plus twice its standard error cannot reach the leader's; then its best is still a dose that was run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

START = 0.6
"""The first dose: cliffs were seen near 1, and the best doses at 0.4 to 1."""
FACTOR = 2.0
FEWEST = 3
"""Evaluations before a cell may be stopped."""


@dataclass
class _Cell:
    """What was recorded: dose -> (objective, spread, coherence)."""

    seen: dict[float, tuple[float, float, float]] = field(default_factory=dict)
    stopped: str | None = None


class Search:
    """Doses for each cell. Feed `record` with every evaluation that `next_round` asked for; an empty round means it is over."""

    def __init__(
        self, cells: Sequence[str], *, budget: int = 6, low: float = 0.1, high: float = 4.0, threshold: float = 70.0
    ) -> None:
        if not 0 < low < high:
            raise ValueError(f"The search needs 0 < low < high, not {low} and {high}.")
        self._cells = {cell: _Cell() for cell in cells}
        self._budget, self._low, self._high, self._threshold = budget, low, high, threshold

    def next_round(self) -> list[tuple[str, float]]:
        """(cell, dose) of the next evaluations, at most one a cell."""
        self._stop_those_that_cannot_win()
        asked = []
        for name, cell in self._cells.items():
            if cell.stopped is None:
                dose = self._next(cell)
                if dose is None:
                    cell.stopped = "no gap left to look into"
                else:
                    asked.append((name, dose))
        return asked

    def record(self, cell: str, r: float, *, objective: float, spread: float, coherence: float) -> None:
        """One evaluation on the selection questions: the joint gain in points, its standard error, the mean coherence."""
        one = self._cells[cell]
        one.seen[r] = (objective, 0.0 if math.isnan(spread) else spread, coherence)
        if len(one.seen) >= self._budget:
            one.stopped = "budget used"

    def best(self, cell: str) -> float | None:
        """The dose that was run with the largest objective; ties go to the more coherent, then to the smaller dose."""
        seen = self._cells[cell].seen
        return max(seen, key=lambda r: (seen[r][0], seen[r][2], -r)) if seen else None

    def stopped(self, cell: str) -> str | None:
        """Why a cell is not run any more."""
        return self._cells[cell].stopped

    def _next(self, cell: _Cell) -> float | None:
        if not cell.seen:
            return min(max(START, self._low), self._high)
        coherent = [r for r, (_, _, coherence) in cell.seen.items() if coherence >= self._threshold]
        broken = [r for r, (_, _, coherence) in cell.seen.items() if coherence < self._threshold]
        if not broken:
            top = max(cell.seen)
            return min(top * FACTOR, self._high) if top < self._high * 0.999 else self._beside_the_best(cell)
        if not coherent:
            bottom = min(cell.seen)
            return max(bottom / FACTOR, self._low) if bottom > self._low * 1.001 else None
        return self._beside_the_best(cell)

    def _beside_the_best(self, cell: _Cell) -> float | None:
        """The middle, on a log scale, of the wider gap beside the best dose; None where both are under 3 %."""
        doses = sorted(cell.seen)
        objective = {r: cell.seen[r][0] for r in doses}
        best = max(doses, key=lambda r: (objective[r], cell.seen[r][2], -r))
        place = doses.index(best)
        below = doses[place - 1] if place else max(self._low, best / FACTOR)
        above = doses[place + 1] if place + 1 < len(doses) else best
        gaps = [(math.log(best / below), math.sqrt(best * below))] + (
            [(math.log(above / best), math.sqrt(best * above))] if above > best else []
        )
        if above > best and cell.seen[above][2] < self._threshold and objective[best] > 0:
            gaps.sort(key=lambda gap: gap[1] < best)  # toward the cliff first: the gain rises up to it
        else:
            gaps.sort(reverse=True)
        return next((middle for width, middle in gaps if width > 0.03 and middle not in cell.seen), None)

    def _stop_those_that_cannot_win(self) -> None:
        bests = {name: self.best(name) for name in self._cells}
        reached = [cell.seen[r][0] for name, cell in self._cells.items() if (r := bests[name]) is not None]
        if not reached:
            return
        leader = max(reached)
        for name, cell in self._cells.items():
            r = bests[name]
            if cell.stopped is None and r is not None and len(cell.seen) >= FEWEST:
                objective, spread, _ = cell.seen[r]
                if objective + 2 * spread < leader and self._bracketed(cell):
                    cell.stopped = "cannot reach the leader"

    def _bracketed(self, cell: _Cell) -> bool:
        coherences = [coherence for _, _, coherence in cell.seen.values()]
        return min(coherences) < self._threshold <= max(coherences) or max(cell.seen) >= self._high * 0.999
