"""The second half of a steering: plans every run on test questions that the report needs, group by group, and answers all runs together.

Doses and layers were chosen on the selection questions; they do not change here. A group is one method at one place, represented by the subject
chosen for it. A way of matching gives all groups something in common: dose, coherence, divergence, one raw coefficient. A clean dose is a
dose measured without massive dims (science.md, 4.2); an arm is a run of one part of a vector (4.6).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from terms.methods import base_of
from terms.specs import EXTRA_SETS
from workers.steering.groups import WAYS, Reported, Searched
from workers.steering.intervention import clean_arm, massive_arm
from workers.steering.matching import HALF, Divergences
from workers.steering.reference_protocol import RawCoefficient
from workers.steering.runs import Run, RunSpec
from workers.steering.setup import Setup
from workers.steering.subjects import Subject, random_subject
from workers.steering.vectors import draw_of

MASSIVE_WORTH_TAKING_APART = 1e-4
"""Share of squared norm in massive dims from which a mean-based vector is also steered in parts."""

OWN_DOSE_MISSING = "over 99 % of the vector lies in massive dims, so it has no clean dose"
LEADERS_DOSE_MISSING = "the leader has no clean dose: over 99 % of its vector lies in massive dims"
"""Why a vector, or every vector, is not compared at equal dose."""
SAMPLED = "answers are sampled, and divergence is measured on the model's likeliest answers"
"""Why no vector is compared at equal divergence."""
SEVERAL_LAYERS = "the vectors are steered at several layers at once, which have no single coefficient"
"""Why no vector is compared at one coefficient."""

Asked = RunSpec | str | None
"""A run to do, a sentence with the reason why there is none, or None where it was not requested."""


@dataclass(frozen=True, eq=False)
class Matched:
    """The doses at which groups are compared besides the leader's dose: equal coherence, equal divergence, one coefficient for all.

    `coherence[group]` is a dose, or a sentence with the reason why none reaches it.
    """

    coherence: Mapping[str, float | str | None] = field(default_factory=dict)
    divergence: Divergences = field(default_factory=Divergences)
    raw: RawCoefficient | None = None


@dataclass(frozen=True, eq=False)
class Companions:
    """Additional vectors of a group: its method fitted on shuffled labels, and on resampled prompts."""

    shuffled: Sequence[Subject] = ()
    refits: Sequence[Subject] = ()

    def at(self, layers: Sequence[int]) -> "Companions":
        """The companions at the same layers."""
        here = tuple(layers)
        return Companions(
            [control for control in self.shuffled if control.layers == here],
            [refit for refit in self.refits if refit.layers == here],
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """The runs of one group, by purpose; `reported` returns the same structure with each spec replaced by its run."""

    searched: Searched
    best: RunSpec
    controls: Mapping[str, Sequence[RunSpec]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    matched: Mapping[str, Asked] = field(default_factory=dict)
    arms: Mapping[str, RunSpec] = field(default_factory=dict)
    refits: Mapping[int, RunSpec] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, RunSpec]] = field(default_factory=dict)

    def specs(self) -> Iterator[RunSpec]:
        """All specs, in the order in which they are answered."""
        yield self.best
        for kind in self.controls.values():
            yield from kind
        yield from (asked for asked in self.matched.values() if isinstance(asked, RunSpec))
        yield from self.arms.values()
        yield from self.refits.values()
        for doses in self.extra.values():
            yield from doses.values()

    def reported(self, runs: Mapping[str, Run]) -> Reported:
        """The plan with each spec replaced by its run; `runs` are by id."""

        def run(asked: Asked) -> Run | str | None:
            return runs[asked.id] if isinstance(asked, RunSpec) else asked

        return Reported(
            self.searched,
            runs[self.best.id],
            {way: run(self.matched.get(way)) for way in WAYS},
            {kind: [runs[spec.id] for spec in specs] for kind, specs in self.controls.items()},
            {name: runs[spec.id] for name, spec in self.arms.items()},
            {name: {at: runs[spec.id] for at, spec in doses.items()} for name, doses in self.extra.items()},
            {draw: runs[spec.id] for draw, spec in self.refits.items()},
            self.left_out,
        )


def report(
    setup: Setup, chosen: Mapping[str, Searched], leader: str, matched: Matched, companions: Mapping[str, Companions]
) -> dict[str, Reported]:
    """Runs each group on the test questions: best, matched, controls, arms, refits, and the extra sets at the dose and at half of it. Groups
    that could not be run are left out."""
    lead = chosen[leader]
    at_raw = _at_raw(setup, chosen, matched.raw)
    plans: dict[str, Plan] = {}
    for group, searched in chosen.items():
        if searched.best is None:
            continue
        beside = companions.get(group, Companions()).at(searched.subject.layers)
        own_r = searched.best.spec.r
        shuffled, left_out = _shuffled(setup, searched.subject, beside.shuffled)
        controls = _controls(setup, searched.subject, own_r, shuffled)
        best = setup.planned(searched.subject, "test", own_r)
        if not setup.pushes_have_doses:
            plans[group] = Plan(searched, best, controls, left_out)
            continue
        unfair = _no_equal_dose(searched.subject, lead.subject)
        r = own_r if unfair else lead.best_run.spec.r
        plans[group] = Plan(
            searched,
            best,
            controls,
            left_out,
            _ways(setup, group, searched.subject, unfair or r, matched) | at_raw.get(group, {}),
            _arms(setup, searched.subject, r or 0.0) if setup.spec["decomposition"] else {},
            {draw_of(refit): _beside(setup, searched.subject, r, refit) for refit in beside.refits},
            _extra(setup, searched.subject, own_r),
        )
    specs = [spec for plan in plans.values() for spec in plan.specs()]
    setup.evaluator.begin("answering test questions", sum({spec.id: len(spec.questions) for spec in specs}.values()))
    runs = {spec.id: run for spec, run in zip(specs, setup.evaluator.evaluate(specs), strict=True)}
    return {group: plan.reported(runs) for group, plan in plans.items()}


def _no_equal_dose(subject: Subject, leader: Subject) -> str | None:
    """Why the subject cannot be compared with the leader at equal dose; None where it can."""
    if not subject.has_clean_dose:
        return OWN_DOSE_MISSING
    return None if leader.has_clean_dose else LEADERS_DOSE_MISSING


def _at_raw(setup: Setup, chosen: Mapping[str, Searched], raw: RawCoefficient | None) -> dict[str, dict[str, Asked]]:
    """Every group at the coefficient that is one for all, or why it cannot be; empty if not requested, or with other operations than `add`."""
    if "coefficient" not in setup.spec["matched"] or setup.how.operation != "add":
        return {}
    if raw is None:
        return {group: {"coefficient": SEVERAL_LAYERS} for group in chosen}
    specs, part = raw.specs(setup.sets["test"], setup.how), chosen[raw.group].subject.parts[0]
    none_there = f"it has no vector at layer {part.layer}, {part.component}, where the coefficient {raw.c:.4g} was found"
    return {group: {"coefficient": specs.get(group, none_there)} for group in chosen}


def _beside(setup: Setup, subject: Subject, r: float | None, other: Subject) -> RunSpec:
    """The test run of a control or refit beside the subject at `r`: at the same dose; where one of them has no clean dose, at the same
    coefficient."""
    if r is not None and setup.how.operation == "add" and not (subject.has_clean_dose and other.has_clean_dose):
        r = other.parts[0].dose(subject.parts[0].coefficient(r))
    return setup.planned(other, "test", r)


def _ways(setup: Setup, group: str, subject: Subject, equal: float | str | None, matched: Matched) -> dict[str, Asked]:
    """The subject at the leader's dose (`equal`, or why it cannot be), coherence and divergence, as far as the request includes them."""

    def at(r: float | str | None) -> Asked:
        return r if r is None or isinstance(r, str) else setup.planned(subject, "test", r)

    ways: dict[str, Asked] = {}
    if "dose" in setup.spec["matched"]:
        ways["dose"] = at(equal)
    if "coherence" in setup.spec["matched"]:
        ways["coherence"] = at(matched.coherence.get(group))
    return ways | {name: at(doses[group]) for name, doses in matched.divergence.doses.items()}


def _shuffled(setup: Setup, subject: Subject, made: Sequence[Subject]) -> tuple[list[Subject], dict[str, str]]:
    """The requested shuffled-label vectors that can run beside the subject, and by name why the others cannot: they have no dose to share."""
    asked = made[: setup.spec["controls"]["shuffled"]]
    doseless = [control for control in asked if subject.has_clean_dose and not control.has_clean_dose]
    return [control for control in asked if control not in doseless], {control.name: OWN_DOSE_MISSING for control in doseless}


def _controls(setup: Setup, subject: Subject, r: float | None, shuffled: Sequence[Subject]) -> dict[str, list[RunSpec]]:
    """The controls at the subject's dose: random vectors, and the method's own shuffled-label vectors."""
    return {
        "random": [_beside(setup, subject, r, random_subject(subject, seed)) for seed in range(setup.spec["controls"]["random"])],
        "shuffled": [_beside(setup, subject, r, control) for control in shuffled],
    }


def _extra(setup: Setup, subject: Subject, r: float | None) -> dict[str, dict[str, RunSpec]]:
    doses = {"chosen": r, "half": HALF * (r or 0.0)}
    return {
        name: {at: setup.planned(subject, name, dose) for at, dose in doses.items()}
        for name in setup.sets
        if name in (*EXTRA_SETS, "capability")
    }


def _arms(setup: Setup, subject: Subject, r: float) -> dict[str, RunSpec]:
    """The clean and the massive part as separate runs, for mean-based vectors that hold massive dims."""
    if setup.how.operation != "add" or base_of(subject.method) != "mean_diff":
        return {}
    if all(1 - part.clean_share**2 < MASSIVE_WORTH_TAKING_APART for part in subject.parts):
        return {}
    if any(part.clean_share == 0 for part in subject.parts):
        return {}  # nothing is left beside the massive dims
    test = setup.sets["test"]
    return {
        "clean": RunSpec(test, f"{subject.name}, clean part", clean_arm(subject, r, setup.how), subject, r),
        "massive": RunSpec(test, f"{subject.name}, massive part", massive_arm(subject, r, setup.how), subject, r),
        "both": setup.planned(subject, "test", r),
    }
