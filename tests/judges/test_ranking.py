"""The search reads few openings, and finds the same best prompts as reading every opening after every prompt."""

import random
from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judges.test_coherence import scale, texts
from tests.judges.world import World
from workers.judges.coherence import CoherenceScale, Reader
from workers.judges.preparing import Ids, Row
from workers.judges.ranking import CANDIDATES, OPENING, Ranking, is_beaten
from workers.lm.likelihood import PRECISION

__all__ = ["scale", "texts"]

PROMPTS = [(number,) for number in range(24)]
Worlds = Callable[..., World]


class Made:
    """A fake model with random log-likelihoods, fixed by the seed; `settled` rounds their mean over a text to PRECISION."""

    def __init__(self, seed: int, spread: float) -> None:
        self._seed, self._spread = seed, spread
        self.asked: list[Row] = []

    def total(self, prompt: Ids, text: Ids) -> float:
        return sum(self._token(prompt, text[: place + 1]) for place in range(len(text)))

    def _token(self, prompt: Ids, text: Ids) -> float:
        draw = random.Random(f"{self._seed}/{prompt}/{text}")
        return -draw.expovariate(1) * self._spread if draw.random() < 0.8 else -draw.choice([0.0, 0.01, 0.02])

    def scores(self, rows: Sequence[Row]) -> list[float]:
        self.asked += rows
        return [self.settled(prompt, text) for prompt, text in rows]

    def settled(self, prompt: Ids, text: Ids) -> float:
        return round(round(self.total(prompt, text) / len(text) / PRECISION) * PRECISION, 6)


def by_all(made: Made, text: Ids, best: float | None, fits: Callable[[Ids, Ids], bool]) -> list[tuple[float, int]]:
    """The best prompts of all, found by reading every one, without those that `best` beats."""
    every = [(made.settled(prompt, text[:OPENING]), number) for number, prompt in enumerate(PROMPTS) if fits(prompt, text)]
    ranked = sorted(every, key=lambda one: (-one[0], one[1]))[:CANDIDATES]
    return [one for one in ranked if best is None or not is_beaten(one[0], len(text), best)]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.01, 0.3, 2.0, 8.0]),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    least=st.one_of(st.none(), st.floats(-9, -0.01)),
    long_prompts=st.integers(0, 24),
)
def test_the_best_prompts_are_those_of_reading_all(
    seed: int, spread: float, lengths: list[int], least: float | None, long_prompts: int
) -> None:
    """Texts of two tokens share openings and have equal values; the first `long_prompts` prompts fit with short texts only."""
    draw = random.Random(seed)
    made = Made(seed, spread)

    def fits(prompt: Ids, text: Ids) -> bool:
        return prompt[0] >= long_prompts or len(text) < 20

    asked = [(tuple(draw.randrange(2) for _ in range(length)), least) for length in lengths]
    ranking = Ranking(PROMPTS, made.scores, fits)
    for part in (asked[:1], asked):
        found = ranking.best(part)
        for (text, best), ranked in zip(part, found, strict=True):
            left = [one for one in ranked if best is None or not is_beaten(one[0], len(text), best)]
            assert left == by_all(made, text, best, fits)
    longer = [row for row in made.asked if len(row[1]) > 1]
    assert len(set(longer)) == len(longer)


def test_openings_that_cannot_be_among_the_best_are_not_read() -> None:
    """First, prompts after which the first token is too unlikely; then all, because the text is known to be likelier after its own prompt."""

    def scores(rows: Sequence[Row]) -> list[float]:
        asked.extend(row for row in rows if len(row[1]) > 1)
        return [-30.0 / len(text) if prompt[0] >= 10 else -0.1 for prompt, text in rows]

    asked: list[Row] = []
    text = tuple(range(12))
    [ranked] = Ranking(PROMPTS, scores, lambda _prompt, _text: True).best([(text, None)])
    assert [number for _, number in ranked] == [0, 1, 2, 3, 4]
    assert sorted(prompt[0] for prompt, _ in asked) == list(range(10))
    asked.clear()
    assert Ranking(PROMPTS, scores, lambda _prompt, _text: True).best([(text, -0.001)]) == [[]]
    assert asked == []


def test_readings_of_a_model_are_those_of_reading_all_openings(world: Worlds, scale: CoherenceScale, texts: list[Row]) -> None:
    """Compared with a reader that reads every opening after every prompt and keeps nothing."""
    lm = world("refusal", step=3).lm
    some = texts[1::6]
    found = Reader(lm, scale, batch_rows=96).read(some)

    class Whole(Reader):
        def _score_fixed(self, rows: Sequence[Row]) -> list[float]:
            return self._score(rows)

    whole = Whole(lm, scale, batch_rows=7)
    whole._ranking = _All(scale.prompts, whole._score, whole._fits)
    assert whole.read(some) == found
    assert any(one.read_after >= 0 for one in found)


class _All(Ranking):
    """A ranking that reads every opening after every prompt."""

    def best(self, texts: Sequence[tuple[Ids, float | None]]) -> list[list[tuple[float, int]]]:
        self._read_openings([(number, text[:OPENING]) for text, _ in texts for number in range(len(self._prompts))])
        return [self._ranked(text, range(len(self._prompts)))[:CANDIDATES] for text, _ in texts]
