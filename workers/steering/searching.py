"""The first half of a steering: runs each vector's doses on the selection questions, and chooses the layer of each method.

A subject is a vector, or the vectors of one method at several layers (`subjects`). The model answers and the judge scores through
`setup.evaluator`, which keeps each finished run as a cell; nothing else here is read or written. Test answers are not used here.
"""

import math
from collections.abc import Mapping, Sequence

from terms.methods import is_ablation, is_control
from workers.science.intervals import standard_error
from workers.science.search import UNSCORED, Search
from workers.steering.effects import Scoring, clusters_of, coherence_of
from workers.steering.groups import Searched, by_group
from workers.steering.runs import Run
from workers.steering.setup import Setup
from workers.steering.subjects import Subject

NO_CLEAN_DOSE = "no clean dose"
"""Why a subject was not run: its vector lies almost wholly in massive dims, so its dose cannot be measured (docs/science.md, 4.2)."""


def search(setup: Setup, subjects: Sequence[Subject], base: Run) -> list[Searched]:
    """Runs every subject's doses on the selection questions: the requested doses, or a search; an ablation is run once.

    A subject with a vector equal to an earlier subject's (`same_as`) shares the earlier subject's runs. `base` is the run of the same questions
    without steering.
    """
    own = [subject for subject in subjects if subject.same_as is None]
    if not setup.pushes_have_doses:
        searched = _ablated(setup, own, base)
    elif setup.spec.get("doses") or setup.spec.get("coefficients"):
        searched = _at_given_doses(setup, own, base)
    else:
        searched = _at_searched_doses(setup, own, base)
    by_name = {candidate.subject.name: candidate for candidate in searched}
    return [
        by_name[subject.name] if subject.same_as is None else _twin(subject, by_name[subject.same_as]) for subject in subjects
    ]


def _twin(subject: Subject, earlier: Searched) -> Searched:
    """The subject with the runs of the earlier subject that has the same vector."""
    return Searched(subject, earlier.curve, earlier.best, "same vector")


def _ablated(setup: Setup, own: Sequence[Subject], base: Run) -> list[Searched]:
    """Runs each subject once: an ablated direction has no dose."""
    setup.evaluator.begin("ablating", len(own) * len(setup.sets["selection"]), share=0.4)
    runs = setup.evaluator.evaluate([setup.planned(subject, "selection", None) for subject in own])
    return [_best_of(setup, subject, (run,), base) for subject, run in zip(own, runs, strict=True)]


def _best_of(setup: Setup, subject: Subject, curve: tuple[Run, ...], base: Run) -> Searched:
    """The subject with the best of its scored runs: the largest joint gain, then the highest coherence."""
    merits = {at: (setup.scoring.mean_joint_gain(run, base), coherence_of(run)) for at, run in enumerate(curve)}
    scored = [at for at, merit in merits.items() if not math.isnan(sum(merit))]
    best = max(scored, key=lambda at: merits[at], default=None)
    return Searched(subject, curve, None if best is None else curve[best], None if scored else UNSCORED)


def _at_searched_doses(setup: Setup, own: Sequence[Subject], base: Run) -> list[Searched]:
    """Runs each subject's budget of doses, each dose chosen from the results of the doses before (docs/science.md, 4.4)."""
    dosed = {subject.name: subject for subject in own if subject.has_clean_dose}
    state = Search(
        list(dosed),
        budget=setup.spec["budget"],
        threshold=setup.scoring.threshold,
        groups={name: subject.group for name, subject in dosed.items()},
        ceiling=setup.scoring.room(base),
    )
    curves: dict[str, list[Run]] = {name: [] for name in dosed}
    setup.evaluator.begin("searching doses", len(dosed) * setup.spec["budget"] * len(setup.sets["selection"]), share=0.45)
    while requested := state.next_round():
        runs = setup.evaluator.evaluate([setup.planned(dosed[name], "selection", r) for name, r in requested])
        for (name, r), run in zip(requested, runs, strict=True):
            curves[name].append(run)
            state.record(
                name,
                r,
                objective=setup.scoring.mean_joint_gain(run, base),
                spread=standard_error(setup.scoring.joint_gain(run, base), clusters_of(run)),
                coherence=coherence_of(run),
            )
    return [
        _curve_of(subject, curves[subject.name], state) if subject.name in dosed else Searched(subject, (), None, NO_CLEAN_DOSE)
        for subject in own
    ]


def _curve_of(subject: Subject, runs: Sequence[Run], state: Search) -> Searched:
    """The subject with its runs in ascending dose, the best of them, and why its search ended early, if it did."""
    curve = tuple(sorted(runs, key=lambda run: run.spec.r or 0.0))
    best = state.best(subject.name)
    return Searched(subject, curve, next((run for run in curve if run.spec.r == best), None), state.stopped(subject.name))


def _at_given_doses(setup: Setup, own: Sequence[Subject], base: Run) -> list[Searched]:
    """Runs the doses or coefficients that the request names. The best run has the largest joint gain; ties go to the highest coherence."""
    doses = {subject.name: _given_doses(setup, subject) for subject in own}
    planned = [setup.planned(subject, "selection", r) for subject in own for r in doses[subject.name]]
    setup.evaluator.begin("answering at the given doses", len(planned) * len(setup.sets["selection"]), share=0.45)
    runs = iter(setup.evaluator.evaluate(planned))
    curves = [tuple(next(runs) for _ in doses[subject.name]) for subject in own]
    return [
        _best_of(setup, subject, curve, base) if curve else Searched(subject, (), None, NO_CLEAN_DOSE)
        for subject, curve in zip(own, curves, strict=True)
    ]


def _given_doses(setup: Setup, subject: Subject) -> list[float]:
    """The requested doses (r) in ascending order; a requested coefficient is converted to the dose of the subject's first part.

    A dose is later multiplied by the direction's sign, and a coefficient is applied as requested: hence the sign here.
    No doses for a subject without a clean dose, unless coefficients are requested.
    """
    if coefficients := setup.spec.get("coefficients"):
        return sorted({subject.parts[0].dose(c) * setup.how.sign for c in coefficients})
    return sorted(set(setup.spec["doses"] or ())) if subject.has_clean_dose else []


def choose(searched: Sequence[Searched], base: Run, scoring: Scoring) -> dict[str, Searched]:
    """Returns for each group, a method at a position and component, the subject with the best run; this chooses the layer.

    Best runs are compared by their joint gain on the selection questions; ties go to the first subject.
    """

    def merit(member: Searched) -> float:
        return -1e9 if member.best is None else scoring.mean_joint_gain(member.best, base)

    return {group: max(members, key=merit) for group, members in by_group(searched).items()}


def leader_of(chosen: Mapping[str, Searched], base: Run, scoring: Scoring) -> str | None:
    """Returns the group with the largest joint gain on the selection questions; None when no group could be run. Controls cannot lead, and
    methods of the cleaning ablation lead only among themselves: a report shows them in a table of their own.
    """
    gains = {
        group: scoring.mean_joint_gain(choice.best, base)
        for group, choice in chosen.items()
        if choice.best is not None and not is_control(choice.subject.method)
    }
    methods = [group for group in gains if not is_ablation(chosen[group].subject.method)]
    return max(methods or gains, key=lambda group: gains[group], default=None)
