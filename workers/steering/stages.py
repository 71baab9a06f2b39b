"""The stages of a steering, in order: search, choose, match, report. Each asks the evaluator for all its runs at once.

Nothing here looks at test answers to decide anything: doses and layers are chosen on the selection questions alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from terms.specs import SteeringSpec
from workers.lm.divergence import divergences
from workers.lm.model import LanguageModel
from workers.science.intervals import standard_error
from workers.science.matching import FIRST_TOKENS, CoherenceMatch, DivergenceMatch, p95
from workers.science.scores import mean
from workers.science.search import Search
from workers.steering.effects import Scale, clusters_of
from workers.steering.evaluator import Evaluator
from workers.steering.protocol import AROUND, RawCoefficient
from workers.steering.questions import Question
from workers.steering.runs import Run, RunSpec
from workers.steering.sets import Intervention, Reported, Searched, by_group, clean_arm, massive_arm
from workers.steering.subjects import Subject, random_subject

MASSIVE_WORTH_TAKING_APART = 1e-4
"""Share of squared norm in massive dims from which a mean-based vector is taken apart."""
HALF = 0.5
DOSES_TO_MATCH = 8
"""Doses of a vector whose divergence is measured, about: for its progress alone."""
WAYS = ("dose", "coherence", "divergence", "divergence_half", "divergence_1_nat", "coefficient")
"""How vectors are compared besides each at its best dose."""


def search(
    evaluator: Evaluator,
    subjects: Sequence[Subject],
    questions: Sequence[Question],
    base: Run,
    how: Intervention,
    scale: Scale,
    spec: SteeringSpec,
) -> list[Searched]:
    """Every subject's doses on the selection questions: those asked for, or searched. Twins share their elder's runs."""
    own = [one for one in subjects if one.same_as is None]
    found: dict[str, Searched] = {}
    if how.operation == "ablate":
        evaluator.begin("ablating", len(own) * len(questions), share=0.4)
        runs = evaluator.evaluate([how.spec(one, questions, None) for one in own])
        found = {one.name: Searched(one, (run,), run) for one, run in zip(own, runs, strict=True)}
    elif spec.get("doses") or spec.get("coefficients"):
        found = _at_given_doses(evaluator, own, questions, base, how, scale, spec)
    else:
        found = _searched(evaluator, own, questions, base, how, scale, spec)
    return [
        found[one.name]
        if one.same_as is None
        else Searched(one, found[one.same_as].curve, found[one.same_as].best, "same vector")
        for one in subjects
    ]


def _searched(
    evaluator: Evaluator,
    own: Sequence[Subject],
    questions: Sequence[Question],
    base: Run,
    how: Intervention,
    scale: Scale,
    spec: SteeringSpec,
) -> dict[str, Searched]:
    dosed = {one.name: one for one in own if one.has_clean_dose}
    groups = {name: one.group for name, one in dosed.items()}
    state = Search(list(dosed), budget=spec["budget"], threshold=scale.threshold, groups=groups, ceiling=scale.room(base))
    runs: dict[str, list[Run]] = {name: [] for name in dosed}
    evaluator.begin("searching doses", len(dosed) * spec["budget"] * len(questions), share=0.45)
    while asked := state.next_round():
        answered = evaluator.evaluate([how.spec(dosed[name], questions, r) for name, r in asked])
        for (name, r), run in zip(asked, answered, strict=True):
            gain = scale.joint_gain(run, base)
            state.record(
                name,
                r,
                objective=mean(gain) or 0.0,
                spread=standard_error(gain, clusters_of(run)),
                coherence=mean(run.coherence) or 0.0,
            )
            runs[name].append(run)
    found = {one.name: Searched(one, (), None, "no clean dose") for one in own}
    for name, subject in dosed.items():
        best = state.best(name)
        curve = tuple(sorted(runs[name], key=lambda run: run.spec.r or 0.0))
        found[name] = Searched(subject, curve, next(run for run in curve if run.spec.r == best), state.stopped(name))
    return found


def _at_given_doses(
    evaluator: Evaluator,
    own: Sequence[Subject],
    questions: Sequence[Question],
    base: Run,
    how: Intervention,
    scale: Scale,
    spec: SteeringSpec,
) -> dict[str, Searched]:
    asked = {}
    for one in own:
        if coefficients := spec.get("coefficients"):
            asked[one.name] = sorted({one.parts[0].dose(c) * how.sign for c in coefficients})
        else:
            asked[one.name] = sorted(set(spec["doses"] or ())) if one.has_clean_dose else []
    specs = [how.spec(one, questions, r) for one in own for r in asked[one.name]]
    evaluator.begin("answering at the given doses", len(specs) * len(questions), share=0.45)
    runs = iter(evaluator.evaluate(specs))
    found = {}
    for one in own:
        curve = tuple(next(runs) for _ in asked[one.name])
        best = max(curve, key=lambda run: (mean(scale.joint_gain(run, base)) or 0.0, mean(run.coherence) or 0.0), default=None)
        found[one.name] = Searched(one, curve, best, None if curve else "no clean dose")
    return found


def choose(searched: Sequence[Searched], base: Run, scale: Scale) -> dict[str, Searched]:
    """Per group the subject (its layer) whose best run has the largest joint gain on the selection questions; ties to the first."""
    chosen = {}
    for group, members in by_group(searched).items():
        chosen[group] = max(members, key=lambda one: -1e9 if one.best is None else mean(scale.joint_gain(one.best, base)) or 0.0)
    return chosen


def leader_of(chosen: Mapping[str, Searched], base: Run, scale: Scale) -> str | None:
    """The group that the selection questions favour, controls excepted; None when nothing could be run."""
    groups = [
        group
        for group, one in chosen.items()
        if one.best is not None and not one.subject.method.startswith(("random", "shuffled"))
    ]
    if not groups:
        return None
    return max(groups, key=lambda group: mean(scale.joint_gain(_best(chosen[group]), base)) or 0.0)


def _best(one: Searched) -> Run:
    assert one.best is not None
    return one.best


def match_coherence(
    evaluator: Evaluator, chosen: Mapping[str, Searched], questions: Sequence[Question], target: float, how: Intervention
) -> dict[str, float | str | None]:
    """Per group the largest dose whose coherence on the selection questions is within +-2 of the target, or a sentence on why none is."""
    states = {
        group: CoherenceMatch({run.spec.r: mean(run.coherence) or 0.0 for run in one.curve if run.spec.r}, target=target)
        for group, one in chosen.items()
        if one.best is not None and one.subject.same_as is None
    }
    evaluator.begin("matching coherence", 2 * len(states) * len(questions), share=0.1)
    while asked := [(group, r) for group, state in states.items() if (r := state.next()) is not None]:
        runs = evaluator.evaluate([how.spec(chosen[group].subject, questions, r) for group, r in asked])
        for (group, r), run in zip(asked, runs, strict=True):
            states[group].record(r, mean(run.coherence) or 0.0)
    by_subject = {
        chosen[group].subject.name: state.unreachable if state.found is None else state.found for group, state in states.items()
    }
    return {group: by_subject.get(one.subject.same_as or one.subject.name) for group, one in chosen.items()}


@dataclass(frozen=True)
class Divergences:
    """`targets` in nats by the name of the way of matching; `doses[name][group]` reaches it, None where no dose does."""

    targets: Mapping[str, float]
    doses: Mapping[str, Mapping[str, float | None]]


def match_divergence(
    lm: LanguageModel,
    chosen: Mapping[str, Searched],
    base: Run,
    target_group: str,
    how: Intervention,
    batch_rows: int,
    evaluator: Evaluator,
) -> Divergences:
    """Doses of equal divergence: the p95 of the leader's best run on the selection questions, half of it, and 1 nat where that is in range.

    Teacher-forced on the unsteered greedy answers, first 20 tokens; nothing is generated.
    """
    texts = [
        (question.prompt_ids, answer.ids[:FIRST_TOKENS])
        for question, answer in zip(base.spec.questions, base.answers, strict=True)
    ]
    texts = [(prompt, ids) for prompt, ids in texts if ids]
    measured: dict[str, dict[float, float]] = {}

    def measure(subject: Subject, r: float) -> float:
        known = measured.setdefault(subject.same_as or subject.name, {})
        if r not in known:
            pushes = subject.pushes(r, operation=how.operation, scope=how.scope, sign=how.sign)
            known[r] = p95(
                divergences(lm, [(prompt, ids, pushes) for prompt, ids in texts], batch_rows=batch_rows, on_batch=evaluator.alive)
            )
            evaluator.tick()
        return known[r]

    def reaching(subject: Subject, target: float) -> float | None:
        state = DivergenceMatch(measured.get(subject.same_as or subject.name), target=target)
        while (r := state.next()) is not None:
            state.record(r, measure(subject, r))
        return state.found

    evaluator.begin("matching divergence", len(chosen) * DOSES_TO_MATCH, share=0.1, unit="doses")
    leader = _best(chosen[target_group])
    assert leader.spec.subject is not None
    budget = measure(leader.spec.subject, leader.spec.r or 0.0)
    targets = {"divergence": budget, "divergence_half": HALF * budget} | ({"divergence_1_nat": 1.0} if budget > 1 else {})
    doses = {
        name: {group: None if one.best is None else reaching(one.subject, target) for group, one in chosen.items()}
        for name, target in targets.items()
    }
    return Divergences(targets, doses)


def report(
    evaluator: Evaluator,
    chosen: Mapping[str, Searched],
    leader: str,
    sets: Mapping[str, Sequence[Question]],
    how: Intervention,
    spec: SteeringSpec,
    coherent: Mapping[str, float | str | None],
    divergent: Divergences | None,
    shuffled: Mapping[str, Sequence[Subject]],
    refits: Mapping[str, Sequence[Subject]],
    raw: RawCoefficient | None,
) -> dict[str, Reported]:
    """Everything on test questions, in one go: best, matched, controls, arms, refits, and the extra sets at the dose and at half of it."""
    test = sets["test"]
    lead_r = _best(chosen[leader]).spec.r
    at_raw = raw.specs(test, how) if raw is not None and "coefficient" in spec["matched"] else {}
    plans: dict[str, dict[str, Any]] = {}
    for group, one in chosen.items():
        if one.best is None:
            continue
        r = one.best.spec.r
        plan: dict[str, Any] = {
            "best": how.spec(one.subject, test, r),
            "controls": _controls(one.subject, test, r, how, spec, shuffled.get(group, ())),
        }
        if how.operation != "ablate":
            plan["dose"] = how.spec(one.subject, test, lead_r) if "dose" in spec["matched"] else None
            plan["coherence"] = _matched(one, test, coherent.get(group), how) if "coherence" in spec["matched"] else None
            plan |= {name: _matched(one, test, by[group], how) for name, by in (divergent.doses if divergent else {}).items()}
            plan["coefficient"] = at_raw.get(group)
            plan["arms"] = _arms(one.subject, test, lead_r or 0.0, how) if spec["decomposition"] else {}
            plan["refits"] = [how.spec(refit, test, lead_r) for refit in refits.get(group, ())]
            plan["extra"] = {
                name: {
                    "chosen": how.spec(one.subject, sets[name], r),
                    "half": how.spec(one.subject, sets[name], HALF * (r or 0.0)),
                }
                for name in sets
                if name in ("paraphrases", "unrelated", "capability")
            }
        plans[group] = plan
    specs = list(_specs(plans))
    evaluator.begin("answering test questions", sum({one.id: len(one.questions) for one in specs}.values()))
    known = {one.id: run for one, run in zip(specs, evaluator.evaluate(specs), strict=True)}
    return {group: _reported(chosen[group], plan, known) for group, plan in plans.items()}


def _matched(one: Searched, test: Sequence[Question], r: float | str | None, how: Intervention) -> RunSpec | str | None:
    return r if r is None or isinstance(r, str) else how.spec(one.subject, test, r)


def _controls(
    subject: Subject,
    test: Sequence[Question],
    r: float | None,
    how: Intervention,
    spec: SteeringSpec,
    shuffled: Sequence[Subject],
) -> dict[str, list[RunSpec]]:
    """Random vectors and the method's own shuffled-label vectors at the subject's dose."""
    controls = {"random": [how.spec(random_subject(subject, seed), test, r) for seed in range(spec["controls"]["random"])]}
    own = [one for one in shuffled if one.layers == subject.layers][: spec["controls"]["shuffled"]]
    controls["shuffled"] = [how.spec(one, test, r) for one in own if one.has_clean_dose]
    return controls


def _arms(subject: Subject, test: Sequence[Question], r: float, how: Intervention) -> dict[str, RunSpec]:
    """The clean and the massive part apart, for mean-based vectors that hold massive dims."""
    mean_based = subject.method.startswith("mean_diff") and "rownorm" not in subject.method
    if (
        how.operation != "add"
        or not mean_based
        or all(1 - part.clean_share**2 < MASSIVE_WORTH_TAKING_APART for part in subject.parts)
    ):
        return {}
    return {
        "clean": RunSpec(test, f"{subject.name}, clean part", clean_arm(subject, r, how), subject, r),
        "massive": RunSpec(test, f"{subject.name}, massive part", massive_arm(subject, r, how), subject, r),
        "both": how.spec(subject, test, r),
    }


def _specs(plans: Mapping[str, Mapping[str, Any]]) -> list[RunSpec]:
    found: list[RunSpec] = []

    def take(value: Any) -> None:
        if isinstance(value, RunSpec):
            found.append(value)
        elif isinstance(value, Mapping):
            for one in value.values():
                take(one)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for one in value:
                take(one)

    take(plans)
    return found


def _reported(searched: Searched, plan: Mapping[str, Any], known: Mapping[str, Run]) -> Reported:
    def run(spec: RunSpec | str | None) -> Run | str | None:
        return known[spec.id] if isinstance(spec, RunSpec) else spec

    return Reported(
        searched,
        known[plan["best"].id],
        {name: run(plan.get(name)) for name in WAYS},
        {kind: [known[one.id] for one in runs] for kind, runs in plan["controls"].items()},
        {name: known[one.id] for name, one in plan.get("arms", {}).items()},
        {name: {at: known[one.id] for at, one in runs.items()} for name, runs in plan.get("extra", {}).items()},
        [known[one.id] for one in plan.get("refits", ())],
    )


def reference_protocol(
    evaluator: Evaluator, raw: RawCoefficient, questions: Sequence[Question], how: Intervention
) -> dict[str, list[Run]]:
    """Every group at the raw coefficients around the probe's, on the reference's questions."""
    rounds = [raw.specs(questions, how, times) for times in AROUND]
    evaluator.begin("the reference's protocol", len(AROUND) * len(raw.subjects) * len(questions))
    runs = iter(evaluator.evaluate([specs[group] for group in raw.subjects for specs in rounds]))
    return {group: [next(runs) for _ in rounds] for group in raw.subjects}


def matrix(runs: Sequence[Run], scale: Scale, base: Run) -> np.ndarray:
    """Gains of several runs on the same questions, [K, Q]."""
    return np.stack([scale.gain(run, base) for run in runs])
