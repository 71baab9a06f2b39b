"""Scores how coherent a text is for the unsteered model: likely token after token, and not repetitive.

    coherence = 100 clip((l - l_shuf) / (l_base - l_shuf), 0, 1) x (1 - share of repeated 4-grams)

l is the text's mean token log-likelihood, the best over the question's own prompt and 32 fixed extraction prompts of both classes, so that a
fluent refusal of a harmless request is coherent. l_base is the median over the model's own extraction answers (read after the prompts that
elicited them), l_shuf over MOST_SHUFFLED of the same answers with their tokens shuffled. An empty text scores 0 (set in reference.py; here it
reads as `Reading(None, 0)`). Source: docs/science.md, 4.7.

The best of the 33 prompts is searched instead of trying all: the own prompt first; then the whole text under the CANDIDATES prompts that give
its first OPENING tokens the highest likelihood (`ranking`), until at most ENOUGH points can be gained. The result is never above the best of
all, and on the shipped models 0.2 points below it on average, most of it on ruined texts (tests/judges/test_coherence.py), at a fraction of the
cost.
All compared values are settled (workers/lm/likelihood.py), so that the same prompts are tried in any batch. The keys and values of the 32
prompts are kept from one reading to the next.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from terms.documents.judge import ScaleDocument
from workers.judges.preparing import Ids, Preparing, Row, Scores, likelihoods
from workers.judges.ranking import CANDIDATES, OPENING, Ranking, is_beaten
from workers.judges.words import repeated_share, shuffled
from workers.lm.kept_prompts import USUAL_ROOM, KeptPrompts
from workers.lm.likelihood import PRECISION, OnRows
from workers.lm.model import LanguageModel

FIXED_PROMPTS = 32
MOST_SHUFFLED = 48
ENOUGH = 1.0
OWN = -1
"""`read_after` of a text for which its own prompt gives the highest likelihood."""


@dataclass(frozen=True)
class Reading:
    """The evidence for a coherence score. `read_after` is the fixed prompt's number, or OWN; the likelihood is None where no prompt with the
    text fits the context."""

    log_likelihood: float | None
    repeated: float
    read_after: int = OWN


@dataclass(frozen=True)
class CoherenceScale:
    """The likelihoods that score 0 and 100, and the fixed prompts."""

    base: float
    shuffled: float
    prompts: tuple[Ids, ...]

    @property
    def usable(self) -> bool:
        """Whether the two ends are far enough apart to score between them: not where shuffling changes nothing, as in one-token answers."""
        return self.base - self.shuffled >= 2 * PRECISION

    def fluency(self, log_likelihood: float) -> float:
        """The score 0-100 of a log-likelihood on a usable scale, before the factor for repetition."""
        if log_likelihood >= self.base:
            return 100.0
        return 100 * max(0.0, (log_likelihood - self.shuffled) / (self.base - self.shuffled))

    def coherence(self, reading: Reading) -> float | None:
        """The coherence 0-100. None where the scale is not usable or the text could not be read."""
        if reading.log_likelihood is None or not self.usable:
            return None
        return round(self.fluency(reading.log_likelihood) * (1 - reading.repeated), 2)

    def to_json(self) -> ScaleDocument:
        """The whole scale as JSON values."""
        return {"base": self.base, "shuffled": self.shuffled, "prompts": [list(ids) for ids in self.prompts]}

    @classmethod
    def from_json(cls, stored: ScaleDocument) -> "CoherenceScale":
        """Restores a scale from the result of `to_json`."""
        return cls(stored["base"], stored["shuffled"], tuple(tuple(ids) for ids in stored["prompts"]))


def fit_scale(
    lm: LanguageModel,
    positive: Sequence[Row],
    negative: Sequence[Row],
    *,
    batch_rows: int,
    seed: int = 0,
    preparing: Preparing | None = None,
) -> CoherenceScale:
    """Fits the scale to the model's own answers of both classes. Raises ValueError without answers."""
    rows = [row for row in (*positive, *negative) if row[1]]
    if not rows:
        raise ValueError("no response with any token")
    fixed = tuple(dict.fromkeys([*_spread(positive, FIXED_PROMPTS // 2), *_spread(negative, FIXED_PROMPTS // 2)]))
    some = [rows[place * len(rows) // MOST_SHUFFLED] for place in range(MOST_SHUFFLED)] if len(rows) > MOST_SHUFFLED else rows
    mixed = [(prompt, tuple(shuffled(answer, random.Random(f"{seed}/{place}")))) for place, (prompt, answer) in enumerate(some)]
    scores = None if preparing is None else preparing.scores(lm, _most_tokens(rows, mixed, len(fixed)), batch_rows)
    scores = scores or partial(likelihoods, lm, batch_rows)
    base = round(median(scores(rows)), 6)
    # no lower end yet: below base every text counts as 0, so that all candidates are read
    reader = Reader(lm, CoherenceScale(base, -math.inf, fixed), batch_rows=batch_rows, scores=scores)
    log_likelihoods = [reading.log_likelihood for reading in reader.read(mixed)]
    return CoherenceScale(base, round(median(value for value in log_likelihoods if value is not None), 6), fixed)


def _most_tokens(rows: Sequence[Row], mixed: Sequence[Row], prompts: int) -> int:
    """The largest number of text tokens that fitting reads: each answer once, shuffled answers after several prompts."""
    read = sum((1 + CANDIDATES) * len(text) + prompts * (1 + min(OPENING, len(text))) for _, text in mixed)
    return read + sum(len(text) for _, text in rows)


def _spread(rows: Sequence[Row], count: int) -> list[Ids]:
    """`count` evenly spaced prompts of the answered rows."""
    prompts = list(dict.fromkeys(prompt for prompt, answer in rows if answer))
    return [prompts[place * len(prompts) // count] for place in range(count)] if len(prompts) > count else prompts


class Reader:
    """Reads texts after the prompts that give them the highest likelihood. Remembers earlier readings, which never changes a result."""

    def __init__(
        self, lm: LanguageModel, scale: CoherenceScale, *, batch_rows: int, room: int = USUAL_ROOM, scores: Scores | None = None
    ) -> None:
        """`room` is the largest number of bytes for kept prompts; `scores` computes likelihoods where the readings are to be stored."""
        self._lm, self._scale, self._batch_rows, self._scores = lm, scale, batch_rows, scores
        self._known: dict[Row, Reading] = {}
        self._kept = KeptPrompts(lm, scale.prompts, room=room)
        self._ranking = Ranking(scale.prompts, self._score_fixed, self._fits)
        self._on_rows: OnRows | None = None

    def read(self, rows: Sequence[Row], *, on_rows: OnRows | None = None) -> list[Reading]:
        """A reading of each (own prompt's ids, text's ids), in order; `Reading(None, 0)` for a text without tokens."""
        self._on_rows = on_rows
        fresh = [row for row in dict.fromkeys(rows) if row[1] and row not in self._known]
        repeated = {row: repeated_share(row[1]) for row in fresh}
        owned = [row for row in fresh if row[0] and self._fits(*row)]
        best = {row: (score, OWN) for row, score in zip(owned, self._score(owned), strict=True)}
        open_rows = [row for row in fresh if self._can_gain(best.get(row), repeated[row])]
        ranked = self._ranking.best([(row[1], best[row][0] if row in best else None) for row in open_rows])
        readers = dict(zip(open_rows, ranked, strict=True))
        for turn in range(CANDIDATES):
            tried = []
            for row in open_rows:
                if turn < len(readers[row]) and self._can_gain(best.get(row), repeated[row]):
                    opening, number = readers[row][turn]
                    if row not in best or not is_beaten(opening, len(row[1]), best[row][0]):
                        tried.append((row, number))
            for (row, number), score in zip(tried, self._whole(tried, readers, turn), strict=True):
                if row not in best or score > best[row][0]:
                    best[row] = (score, number)
        for row in fresh:
            self._known[row] = Reading(best[row][0], repeated[row], best[row][1]) if row in best else Reading(None, repeated[row])
        return [self._known.get(row, Reading(None, 0.0)) for row in rows]

    def release(self) -> None:
        """Frees the memory of the kept prompts until they are needed again."""
        self._kept.release()

    def _whole(
        self, tried: Sequence[tuple[Row, int]], readers: Mapping[Row, Sequence[tuple[float, int]]], turn: int
    ) -> list[float]:
        """The likelihood of each text after a fixed prompt. A text no longer than the opening was already read when the prompts were ranked."""
        longer = [(row, number) for row, number in tried if len(row[1]) > OPENING]
        scores = self._score_fixed([(self._scale.prompts[number], row[1]) for row, number in longer])
        score_of = dict(zip(longer, scores, strict=True))
        return [score_of[row, number] if (row, number) in score_of else readers[row][turn][0] for row, number in tried]

    def _can_gain(self, best: tuple[float, int] | None, repeated: float) -> bool:
        """Whether another prompt may raise the score by ENOUGH points; on a scale that is not usable no text gets a score."""
        return best is None or (self._scale.usable and (100 - self._scale.fluency(best[0])) * (1 - repeated) >= ENOUGH)

    def _fits(self, prompt: Ids, text: Ids) -> bool:
        return len(prompt) + len(text) <= self._lm.context_length

    def _score(self, rows: Sequence[Row]) -> list[float]:
        if self._scores is not None:
            return self._scores(rows)
        return likelihoods(self._lm, self._batch_rows, rows, on_rows=self._on_rows)

    def _score_fixed(self, rows: Sequence[Row]) -> list[float]:
        """The likelihood of each text after a fixed prompt, with the prompts' kept keys and values."""
        if self._scores is not None:
            return self._scores(rows)
        return likelihoods(self._lm, self._batch_rows, rows, on_rows=self._on_rows, kept=self._kept)
