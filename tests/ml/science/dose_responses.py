"""Simulated dose-responses for the dose search: what a vector would do at any dose, known exactly, and noisy evaluations of it.

    share of answers that show the trait   top * sigmoid((ln r - ln onset) / rise)
    share of answers that are coherent     0.97 * sigmoid((ln cliff - ln r) / fall)

The joint share is their product. An evaluation asks a number of questions; the sawtooth seen on real models (at a
dose 1 % larger the answers differ) is a fixed random shift of each dose.
"""

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from workers.science.search import Search

LOW, HIGH = 0.1, 4.0
GRID = np.geomspace(LOW, HIGH, 400)


@dataclass(frozen=True)
class Response:
    """One vector at one layer. `cliff` may lie outside the doses that are searched."""

    cliff: float = 1.0
    fall: float = 0.1
    onset: float = 0.6
    rise: float = 0.15
    top: float = 1.0
    sawtooth: float = 0.0

    def shown(self, r: float) -> float:
        """The share of answers that show the trait at dose r."""
        return self.top * _sigmoid((math.log(r / self.onset)) / self.rise)

    def coherent(self, r: float) -> float:
        """The share of answers that are coherent at dose r."""
        return 0.97 * _sigmoid(math.log(self.cliff / r) / self.fall)

    def joint(self, r: float) -> float:
        """The true share, in percent."""
        return 100 * self.shown(r) * self.coherent(r)

    def best(self) -> float:
        """The largest joint share at any dose in reach, in percent."""
        return max(self.joint(float(r)) for r in GRID)

    def evaluate(self, r: float, questions: int, seed: int) -> tuple[float, float, float]:
        """Joint share in percent and its standard error over questions, mean coherence; the same answers at the same dose and seed."""
        generator = np.random.default_rng([seed, zlib.crc32(repr(round(r, 6)).encode())])
        shift = math.exp(self.sawtooth * generator.standard_normal())
        shown = generator.random(questions) < self.shown(r * shift)
        coherent = generator.random(questions) < self.coherent(r * shift)
        joint_Q = 100.0 * (shown & coherent)
        coherence_Q = np.where(coherent, 95.0, 15.0) + generator.normal(0, 3, questions)
        return float(joint_Q.mean()), float(joint_Q.std(ddof=1) / math.sqrt(questions)), float(coherence_Q.mean())


def families() -> Iterator[tuple[str, Response]]:
    """Named kinds of dose-response, cliffs from 0.15 to 3."""
    for cliff, early, fall, top in itertools.product(
        (0.15, 0.3, 0.6, 1.0, 1.8, 3.0), (0.4, 0.7, 0.9), (0.03, 0.1, 0.2), (0.4, 1.0)
    ):
        yield "up to a cliff", Response(cliff, fall, early * cliff, 0.15, top)
    for cliff, early in itertools.product((0.3, 1.0, 2.0), (0.5, 0.8)):
        yield "sawtooth", Response(cliff, 0.1, early * cliff, 0.15, 0.9, sawtooth=0.08)
    for onset in (0.3, 1.0, 2.5):
        yield "no cliff", Response(cliff=40.0, onset=onset, rise=0.2)
    yield "no effect", Response(top=0.0)
    yield "never coherent", Response(cliff=0.02, fall=0.05, onset=0.5)


def searched(response: Response, *, questions: int = 24, seed: int = 0, budget: int = 6) -> tuple[float | None, list[float]]:
    """The dose that the search chooses, and all doses that it ran, in order."""
    search = Search(["cell"], budget=budget)
    ran: list[float] = []
    while asked := search.next_round():
        ((cell, r),) = asked
        joint, error, coherence = response.evaluate(r, questions, seed)
        search.record(cell, r, objective=joint, spread=error, coherence=coherence)
        ran.append(r)
    return search.best("cell"), ran


def regret(response: Response, r: float | None) -> float:
    """How far the true joint share at the chosen dose is below the best one, in percentage points."""
    return response.best() - (0.0 if r is None else response.joint(r))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -500 else 0.0
