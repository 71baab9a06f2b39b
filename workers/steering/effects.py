"""Computes a run's effect against the unsteered answers to the same questions: gains with intervals, joint gains, shares moved, side effects.

Pure functions of judged runs; `Scoring` says how their scores are read.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from binnacle.words.rounding import limit
from terms.documents.steering import Dose, Effect, ExtraEffect, Gain, Scores, SideEffects, UnsteeredScores
from workers.science.intervals import Interval, paired_interval
from workers.science.scores import bounds, joint, mean, moved
from workers.steering.runs import Run

Column = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scoring:
    """How scores are read: the coherence threshold, the requested direction (-1: less of the trait), and the seed of intervals."""

    threshold: float
    sign: int
    seed: int

    def gain(self, run: Run, base: Run) -> Column:
        """The gain per question of one run over another; positive means a change in the requested direction."""
        return self.sign * (run.trait - base.trait)

    def joint_gain(self, run: Run, base: Run) -> Column:
        """The joint gain per question, in percentage points."""
        return self._joint(run) - self._joint(base)

    def mean_joint_gain(self, run: Run, base: Run) -> float:
        """The mean joint gain, in percentage points; NaN as for `coherence_of`."""
        return _scored(mean(self.joint_gain(run, base)), run, base)

    def room(self, base: Run) -> float:
        """The largest possible mean joint gain over `base`: 100 minus the share of its answers that are already on target, in percentage
        points."""
        return 100.0 - (mean(self._joint(base)) or 0.0)

    def _joint(self, run: Run) -> Column:
        return joint(run.trait, run.coherence, self.threshold, self.sign)


def coherence_of(run: Run) -> float:
    """The mean coherence of a run. NaN where the judge failed on every answer; 0 where it has no scale of coherence."""
    return _scored(mean(run.coherence), run)


def _scored(value: float | None, *runs: Run) -> float:
    """The mean that was computed; without one, NaN where the judge failed on an answer of the runs, else 0."""
    if value is not None:
        return value
    return math.nan if any(run.failed for run in runs) else 0.0


def gains_of(runs: Sequence[Run], base: Run, scoring: Scoring) -> Column:
    """Gains of several runs over `base` on the same questions, [runs, questions]."""
    return np.stack([scoring.gain(run, base) for run in runs])


def clusters_of(run: Run) -> list[str]:
    """The cluster of each question."""
    return [question.cluster for question in run.spec.questions]


def scores_of(run: Run) -> Scores:
    """Mean scores of a run, without comparison."""
    return {
        "run": run.spec.id,
        "n": len(run.answers),
        "trait": _rounded(mean(run.trait)),
        "coherence": _rounded(mean(run.coherence)),
        "failed": run.failed,
    }


def unsteered_of(run: Run) -> UnsteeredScores:
    """`scores_of` for unsteered answers, with the spread of their trait scores, for comparison with a gain."""
    scored = run.trait[~np.isnan(run.trait)]
    if not len(scored):
        return {**scores_of(run), "spread": None}
    least, p10, median, p90, most = (_rounded(float(value)) for value in np.quantile(scored, (0, 0.1, 0.5, 0.9, 1)))
    return {**scores_of(run), "spread": {"min": least, "p10": p10, "median": median, "p90": p90, "max": most}}


def effect_of(run: Run, base: Run, scoring: Scoring) -> Effect:
    """The effect of a run on test questions, as tables show it. Every interval is over clusters; with too few clusters it is null."""
    clusters = clusters_of(run)
    gain, joint_gain = scoring.gain(run, base), scoring.joint_gain(run, base)
    interval = paired_interval(gain, clusters, seed=scoring.seed)
    scored = [cluster for cluster, value in zip(clusters, gain, strict=True) if not math.isnan(value)]
    shares = {name: _rounded(share, 4) for name, share in moved(gain).items()}
    return {
        **scores_of(run),
        **dose_of_run(run),
        **_gain(gain, interval, joint_gain, paired_interval(joint_gain, clusters, seed=scoring.seed)),
        "delta_bounds": [_rounded(bound) for bound in bounds(run.trait, base.trait, scoring.sign)],
        "interval": None if interval is None else interval.method,
        "clusters": len(set(clusters)),
        "scored": {"n": len(scored), "clusters": len(set(scored))},
        "moved": {"wanted": shares["wanted"], "not_moved": shares["not_moved"], "opposite": shares["opposite"]},
        **side_effects(run),
        "effect": run.effect,
    }


def _gain(gain: Column, interval: Interval | None, joint_gain: Column, joint_interval: Interval | None) -> Gain:
    return {
        "delta": _rounded(mean(gain)),
        "delta_low": None if interval is None else limit(interval.low),
        "delta_high": None if interval is None else limit(interval.high),
        "delta_joint": _rounded(mean(joint_gain)),
        "delta_joint_low": None if joint_interval is None else limit(joint_interval.low),
        "delta_joint_high": None if joint_interval is None else limit(joint_interval.high),
    }


def extra_effect(run: Run, base: Run, scoring: Scoring) -> ExtraEffect:
    """A run on an extra set: its effect, the share of unchanged texts and, where the questions have right answers, the share of right
    answers."""
    facts = cast("ExtraEffect", {**effect_of(run, base, scoring), "unchanged": unchanged(run, base)})
    if (right := answered_right(run)) is not None:
        facts["right"] = right
    if (right := answered_right(base)) is not None:
        facts["right_unsteered"] = right
    return facts


def unchanged(run: Run, base: Run) -> float:
    """The share of answers with the same text as without a push."""
    return round(float(np.mean([answer.text == other.text for answer, other in zip(run.answers, base.answers, strict=True)])), 4)


def answered_right(run: Run) -> float | None:
    """The share of answers that contain the expected text as whole words, ignoring case; None where no answer was expected."""
    pairs = [
        (question.expected, answer.text)
        for question, answer in zip(run.spec.questions, run.answers, strict=True)
        if question.expected is not None
    ]
    if not pairs:
        return None
    return round(float(np.mean([_holds(text, expected) for expected, text in pairs])), 4)


def _holds(text: str, expected: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(expected.strip())}(?!\w)", text, re.IGNORECASE) is not None


def dose_of_run(run: Run) -> Dose:
    """The dose of a run: r, c and r_raw. For a subject at several layers c and r_raw are lists, and the sum of r is stored.

    A subject without a clean dose has no r, and an operation other than `add` no r_raw: its c is not a norm (docs/science.md, 4.2).
    """
    if run.spec.subject is None or run.spec.r is None:
        return {"r": None, "c": None, "r_raw": None}
    r = run.spec.r if run.spec.subject.has_clean_dose else None
    parts = run.spec.subject.parts
    c = [_rounded(push.coefficient, 4) for push in run.spec.pushes]
    raw = [
        _rounded(push.coefficient / part.unit_norm, 4) if push.operation == "add" else None
        for push, part in zip(run.spec.pushes, parts, strict=True)
    ]
    if len(parts) == 1:
        return {"r": r, "c": c[0], "r_raw": raw[0]}
    dose: Dose = {"r": r, "c": c, "r_raw": raw}
    return dose if r is None else {**dose, "r_sum": r * len(parts)}


def side_effects(run: Run) -> SideEffects:
    """Mean length in tokens, share of repeated 4-grams, perplexity, share of answers that ended before the limit, share with finite logits.

    Perplexity is exp of minus the mean, over answers, of a text's mean token log-likelihood under the unsteered model.
    """
    likelihoods = [value for answer in run.answers if (value := answer.raw.get("log_likelihood")) is not None]
    lengths = [len(answer.ids) for answer in run.answers]
    return {
        "length": _rounded(float(np.mean(lengths))),
        "repetition": _rounded(float(np.mean([repeated_4grams(answer.ids) for answer in run.answers])), 4),
        "perplexity": _rounded(math.exp(min(50.0, -float(np.mean(likelihoods))))) if likelihoods else None,
        "ended": _rounded(float(np.mean([answer.ended for answer in run.answers])), 4),
        "finite": _rounded(float(np.mean([answer.finite for answer in run.answers])), 4),
    }


def repeated_4grams(ids: Sequence[int]) -> float:
    """Share of 4-grams that occurred before in the same answer; 0 for answers under five tokens."""
    grams = Counter(tuple(ids[i : i + 4]) for i in range(len(ids) - 3))
    total = sum(grams.values())
    return (total - len(grams)) / total if total > 1 else 0.0


def _rounded(value: float | None, places: int = 2) -> float | None:
    return None if value is None or math.isnan(value) else round(value, places)
