"""Builds the parts of summary.json from judged runs (`outcome` and `rescoring` put them together): the dose-response curves, the effects of each
method, and the contrasts between methods with their intervals and verdicts. Pure functions.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from binnacle.words.rounding import limit
from terms.documents.massive import PerDim
from terms.documents.steering import Contrast, CurvePoint, Decomposition, GroupFacts, Limits, Refits
from terms.documents.steering import Subject as SubjectFacts
from terms.methods import plain_of
from workers.science.contrasts import POWER, simultaneous, simultaneous_level, smallest_detectable
from workers.science.decomposition import massive_part
from workers.science.intervals import Interval, mean_interval, paired_interval, two_level
from workers.science.scores import mean
from workers.science.verdicts import verdict
from workers.steering.effects import Scoring, clusters_of, dose_of_run, effect_of, extra_effect, gains_of, scores_of
from workers.steering.groups import WAYS, Reported, Searched
from workers.steering.runs import Run
from workers.steering.subjects import Subject

SCHEMA_VERSION = 1


def subject_facts(searched: Searched, base: Run, scoring: Scoring) -> SubjectFacts:
    """One subject with its dose-response curve on the selection questions."""
    subject = searched.subject
    return {
        "name": subject.name,
        "group": subject.group,
        "method": subject.method,
        "position": subject.position,
        "component": subject.component,
        "layers": list(subject.layers),
        "ids": list(subject.ids),
        "keys": list(subject.keys),
        "same_as": subject.same_as,
        **(subject.source or {}),
        "clean_share": [round(part.clean_share, 6) for part in subject.parts],
        "unit_norm": [part.unit_norm for part in subject.parts],
        "has_clean_dose": subject.has_clean_dose,
        "curve": [curve_point(run, base, scoring) for run in searched.curve],
        "best_r": None if searched.best is None or not subject.has_clean_dose else searched.best.spec.r,
        "stopped": searched.stopped,
    }


def curve_point(run: Run, base: Run, scoring: Scoring) -> CurvePoint:
    """One dose of a dose-response curve: mean scores with their intervals, and the objective of the search."""
    clusters = clusters_of(run)
    trait, coherence = (mean_interval(values, clusters, seed=scoring.seed) for values in (run.trait, run.coherence))
    return {
        **scores_of(run),
        **dose_of_run(run),
        "trait_low": None if trait is None else round(trait.low, 2),
        "trait_high": None if trait is None else round(trait.high, 2),
        "coherence_low": None if coherence is None else round(coherence.low, 2),
        "coherence_high": None if coherence is None else round(coherence.high, 2),
        "objective": _round(mean(scoring.joint_gain(run, base))),
    }


def group_facts(
    group: str, reported: Reported, base: Run, bases: Mapping[str, Run], scoring: Scoring, *, judged: bool
) -> GroupFacts:
    """The results of a method at its chosen layer, in every comparison. `judged` as in `contrasts`."""
    subject, arms = reported.searched.subject, reported.arms
    return {
        "group": group,
        "subject": subject.name,
        "method": subject.method,
        "position": subject.position,
        "component": subject.component,
        "layers": list(subject.layers),
        "same_as": subject.same_as,
        **(subject.source or {}),
        "best": effect_of(reported.best, base, scoring),
        "matched": {
            name: effect_of(run, base, scoring) if isinstance(run, Run) else None for name, run in reported.matched.items()
        },
        "unreachable": {name: why for name, why in reported.matched.items() if isinstance(why, str)},
        "controls": {kind: [effect_of(run, base, scoring) for run in runs] for kind, runs in reported.controls.items()},
        "controls_left_out": dict(reported.left_out),
        "decomposition": decomposition_facts(arms, _per_dim(subject), base, scoring, judged=judged) if arms else None,
        "extra": {
            name: {at: extra_effect(run, bases[name], scoring) for at, run in runs.items()}
            for name, runs in reported.extra.items()
        },
        "refits": refit_facts(reported.refits, base, scoring),
    }


def refit_facts(refits: Mapping[int, Run], base: Run, scoring: Scoring) -> Refits | None:
    """Gains of a method refitted on resampled extraction sets, with an interval over sets and questions; None without refits."""
    if not refits:
        return None
    runs = list(refits.values())
    gains = gains_of(runs, base, scoring)
    interval = two_level(gains, clusters_of(base))
    return {
        "n": len(runs),
        "draws": list(refits),
        "runs": [run.spec.id for run in runs],
        "gains": [_round(mean(row)) for row in gains],
        "scored": _scored(gains),
        "mean": _round(_over_refits(gains)),
        "low": None if interval is None else limit(interval.low),
        "high": None if interval is None else limit(interval.high),
    }


def _per_dim(subject: Subject) -> dict[str, PerDim]:
    """The extraction's facts on the dims that were steered as a separate part; the extraction's own list may come from another calibration."""
    massive = None if subject.facts is None else subject.facts.get("massive")
    known = {} if massive is None else massive.get("per_dim") or {}
    return {dim: facts for dim, facts in known.items() if any(int(dim) in part.massive for part in subject.parts)}


def decomposition_facts(
    arms: Mapping[str, Run], per_dim: Mapping[str, PerDim], base: Run, scoring: Scoring, *, judged: bool
) -> Decomposition:
    """The effect of a vector's massive part (docs/science.md, 4.6), from the arms `clean`, `massive` and `both`."""
    clusters = clusters_of(base)
    gains = {name: scoring.gain(run, base) for name, run in arms.items()}
    alone = paired_interval(gains["massive"], clusters, seed=scoring.seed)
    on_top = paired_interval(scoring.gain(arms["both"], arms["clean"]), clusters, seed=scoring.seed)
    return {
        "massive_part": massive_part(alone, on_top, per_dim) if judged else "unclear",
        "arms": {name: effect_of(run, base, scoring) for name, run in arms.items()},
        "on_top": None if on_top is None else {"low": limit(on_top.low), "high": limit(on_top.high)},
        "per_dim": dict(per_dim),
    }


class Compared(Protocol):
    """The runs of a group that a contrast uses: at its best dose, at matched doses, and of its refits."""

    @property
    def best(self) -> Run: ...
    @property
    def matched(self) -> Mapping[str, Run | str | None]: ...
    @property
    def refits(self) -> Mapping[int, Run]: ...


def contrasts(
    reported: Mapping[str, Compared], leader: str, base: Run, scoring: Scoring, *, judged: bool
) -> dict[str, list[Contrast]]:
    """Compares every method with the leader, per way of matching, with simultaneous intervals and a verdict each; also cleaned minus plain.

    A difference is of the questions with a score under both vectors; it needs no unsteered score.
    At matched dose, methods that were refitted on resampled extraction sets are compared over those sets as well. `judged` False: every verdict
    is `not enough evidence`.
    """
    by_way: dict[str, list[Contrast]] = {}
    clusters = clusters_of(base)
    for way in (*WAYS, "best"):
        runs = {
            group: run
            for group, compared in reported.items()
            if isinstance(run := compared.best if way == "best" else compared.matched.get(way), Run)
        }
        pairs = {f"{leader} -> {group}": (leader, group) for group in runs if group != leader and leader in runs}
        pairs |= {
            f"{plain} -> {group}": (plain, group) for group in runs if (plain := plain_of(group)) in runs and plain != leader
        }
        differences = {name: scoring.gain(runs[b], runs[a]) for name, (a, b) in pairs.items()}
        twins = {name for name, (a, b) in pairs.items() if runs[a].spec.id == runs[b].spec.id}  # one run under two names
        apart = {name: gap for name, gap in differences.items() if name not in twins}
        level = simultaneous_level(list(apart.values()), clusters, seed=scoring.seed)
        intervals = simultaneous(apart, clusters, seed=scoring.seed)
        same = Interval(0.0, 0.0, "same run", len(base.answers), len(set(clusters)))
        intervals |= {name: None if np.isnan(differences[name]).all() else same for name in twins}
        seen = {name: smallest_detectable(gap_Q, clusters, level=level, seed=scoring.seed) for name, gap_Q in differences.items()}
        by_way[way] = [
            _contrast(pair, differences[name], intervals[name], seen[name], judged=judged) for name, pair in pairs.items()
        ]
        if way == "dose":
            by_way[way] = [_over_extraction_sets(contrast, reported, scoring, level, judged) for contrast in by_way[way]]
    return by_way


def _contrast(
    pair: tuple[str, str], gap_Q: np.ndarray, interval: Interval | None, detectable: float | None, *, judged: bool
) -> Contrast:
    ends = _ends(interval)
    return {
        "a": pair[0],
        "b": pair[1],
        "difference": _round(mean(gap_Q)),
        "low": ends["low"],
        "high": ends["high"],
        "interval": ends["interval"],
        "verdict": verdict(interval, judged=judged),
        "smallest_detectable": _round(detectable),
    }


def _over_extraction_sets(
    contrast: Contrast, reported: Mapping[str, Compared], scoring: Scoring, level: float, judged: bool
) -> Contrast:
    """The same contrast over extraction sets too, where both methods were refitted on the same resamples.

    Its difference, interval, verdict and smallest detectable difference replace those of the single fit over questions alone
    (docs/science.md, 5: `evidence: full`). `level` is that of each interval, so that all of the table hold together.
    """
    of_a, of_b = reported[contrast["a"]].refits, reported[contrast["b"]].refits
    draws = [draw for draw in of_a if draw in of_b]
    a, b = [of_a[draw] for draw in draws], [of_b[draw] for draw in draws]
    if [run.spec.id for run in a] == [run.spec.id for run in b]:  # equal vectors share their runs, and differ by nothing
        return contrast
    differences_RQ = np.stack([scoring.gain(run, other) for run, other in zip(b, a, strict=True)])
    clusters = clusters_of(a[0])
    interval = two_level(differences_RQ, clusters, level=level)
    power = two_level(differences_RQ, clusters, level=2 * POWER - 1)  # its half-width is t_{power} standard errors
    if interval is None or power is None:
        return contrast
    return {
        **contrast,
        "difference": _round(_over_refits(differences_RQ)),
        **_ends(interval),
        "verdict": verdict(interval, judged=judged),
        "smallest_detectable": _round((interval.high - interval.low + power.high - power.low) / 2) or None,
        "refits": _scored(differences_RQ),
        "difference_of_the_fit": contrast["difference"],
    }


def _over_refits(values_RQ: np.ndarray) -> float | None:
    """The mean over questions of the refits' means, which is the centre of `two_level`; None without a score."""
    return mean(np.nanmean(values_RQ[:, ~np.isnan(values_RQ).all(axis=0)], axis=0))


def _scored(values_RQ: np.ndarray) -> int:
    """How many refits have a score; the others count in no interval."""
    return int((~np.isnan(values_RQ).all(axis=1)).sum())


def _ends(interval: Interval | None) -> Limits:
    return {
        "low": None if interval is None else limit(interval.low),
        "high": None if interval is None else limit(interval.high),
        "interval": None if interval is None else interval.method,
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
