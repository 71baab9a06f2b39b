"""Reproduces the reference system's protocol: every vector at the same raw coefficients, on ten questions that also choose the coefficient.

Stored next to the matched doses, so that a report shows what such a comparison concludes and what it hides (docs/science.md, 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from terms.documents.steering import ReferenceProtocol, ReferenceRow
from workers.science.scores import mean
from workers.steering.effects import Scoring, coherence_of, dose_of_run, scores_of
from workers.steering.groups import Searched
from workers.steering.intervention import Intervention
from workers.steering.questions import Question
from workers.steering.runs import Run, RunSpec
from workers.steering.setup import Setup
from workers.steering.subjects import Subject

AROUND = (0.7, 0.85, 1.0, 1.15, 1.3)
"""The coefficients tried, as multiples of the probe's best one: the reference's steps up and down, and its published range."""


@dataclass(frozen=True, eq=False)
class RawCoefficient:
    """The coefficient `c` at which `group` steered best, with its sign, and every group's subject at the same layer."""

    group: str
    c: float
    subjects: Mapping[str, Subject]

    def specs(self, questions: Sequence[Question], how: Intervention, times: float = 1.0) -> dict[str, RunSpec]:
        """The run specs of every group at `times` the coefficient."""
        return {
            group: how.spec(subject, questions, how.sign * subject.parts[0].dose(times * self.c))
            for group, subject in self.subjects.items()
        }


def raw_coefficient(searched: Sequence[Searched], chosen: Mapping[str, Searched], leader: str) -> RawCoefficient | None:
    """The probe's best coefficient, or the leader's where the probe was not used. None where the coefficient is not a single number."""
    group = next(
        (name for name, choice in chosen.items() if choice.subject.method == "probe" and choice.best is not None), leader
    )
    best = chosen[group].best
    if best is None or len(best.spec.pushes) != 1 or best.spec.pushes[0].operation != "add":
        return None
    sites = [(part.layer, part.component) for part in chosen[group].subject.parts]
    subjects = {
        candidate.subject.group: candidate.subject
        for candidate in searched
        if [(part.layer, part.component) for part in candidate.subject.parts] == sites
    }
    return RawCoefficient(group, best.spec.pushes[0].coefficient, subjects)


def best_of(runs: Sequence[Run], scoring: Scoring, base: Run) -> Run:
    """Applies the reference's rule: the largest gain among runs with a mean coherence at or above the threshold, else the most coherent run."""
    coherent = [run for run in runs if coherence_of(run) >= scoring.threshold]
    gains = {run.spec.id: gain for run in coherent if (gain := mean(scoring.gain(run, base))) is not None}
    if gains:
        return max((run for run in coherent if run.spec.id in gains), key=lambda run: gains[run.spec.id])
    return max(runs, key=lambda run: np.nan_to_num(coherence_of(run), nan=-1.0))


def measure(setup: Setup, raw: RawCoefficient, base: Run) -> ReferenceProtocol:
    """Runs every group at the raw coefficients around the probe's, on the reference's questions (`base`: unsteered), and builds the table."""
    rounds = [raw.specs(setup.sets["reference"], setup.how, times) for times in AROUND]
    setup.evaluator.begin("the reference's protocol", len(AROUND) * len(raw.subjects) * len(base.answers))
    runs = iter(setup.evaluator.evaluate([specs[group] for group in raw.subjects for specs in rounds]))
    return _table(raw, {group: [next(runs) for _ in rounds] for group in raw.subjects}, base, setup.scoring)


def _table(raw: RawCoefficient, runs: Mapping[str, Sequence[Run]], base: Run, scoring: Scoring) -> ReferenceProtocol:
    """The protocol's own table: one number per group, without an interval."""
    rows: list[ReferenceRow] = []
    for group, tried in runs.items():
        best = best_of(tried, scoring, base)
        gain = mean(scoring.gain(best, base))
        rows.append({"group": group, "delta": None if gain is None else round(gain, 2), **dose_of_run(best), **scores_of(best)})
    return {
        "questions": len(base.answers),
        "around": {"group": raw.group, "c": round(raw.c, 4), "times": list(AROUND)},
        "threshold": scoring.threshold,
        "unsteered": scores_of(base),
        "rows": rows,
    }
