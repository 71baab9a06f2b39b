"""Data types that the stages of a steering job share, and the unsteered runs, which it requests from the model.

Each stage requests all its runs at once, so that they share batches. A run that two stages request is computed once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from terms.interventions import Operation, Scope
from workers.lm.interventions import Push
from workers.steering.evaluator import Evaluator
from workers.steering.questions import Question
from workers.steering.runs import Run, RunSpec
from workers.steering.subjects import Subject

WAYS = ("dose", "coherence", "divergence", "divergence_half", "divergence_1_nat", "coefficient")
"""The ways of comparing vectors besides each at its best dose."""


@dataclass(frozen=True)
class Intervention:
    """Settings that all runs of a job share. `sign` is -1 when the trait is suppressed; `plain` is the request's `ablate_plain`."""

    operation: Operation
    scope: Scope
    sign: int
    plain: bool = False

    def spec(self, subject: Subject, questions: Sequence[Question], r: float | None) -> RunSpec:
        """The run of the subject at dose r on these questions, named after its twin (`same_as`) if it has one; `ablate` takes no dose."""
        pushes = subject.pushes(
            1.0 if r is None else r, operation=self.operation, scope=self.scope, sign=self.sign, plain=self.plain
        )
        return RunSpec(questions, subject.same_as or subject.name, pushes, subject, r)


@dataclass(frozen=True, eq=False)
class Searched:
    """A subject and its selection runs in ascending dose. `best` is one of these runs; None if the subject never ran or has no clean dose."""

    subject: Subject
    curve: tuple[Run, ...]
    best: Run | None
    stopped: str | None = None

    @property
    def best_run(self) -> Run:
        """`best` of a subject that is known to have one."""
        assert self.best is not None
        return self.best


@dataclass(frozen=True, eq=False)
class Reported:
    """A group's chosen subject and its runs on test questions. `matched` holds a sentence for each match that could not be reached.

    `controls`: random and shuffled-label vectors at the best dose. `arms`: the clean and the massive part. `extra`: runs on further sets of
    questions, by set and dose. `refits`: the method refitted on resampled clusters, by the resample's number. `left_out`: why a control was not
    run, by its name.
    """

    searched: Searched
    best: Run
    matched: Mapping[str, Run | str | None]
    controls: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    arms: Mapping[str, Run] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, Run]] = field(default_factory=dict)
    refits: Mapping[int, Run] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def unsteered(evaluator: Evaluator, sets: Mapping[str, Sequence[Question]]) -> dict[str, Run]:
    """The runs of every question set without intervention, by the name of the set."""
    evaluator.begin("answering unsteered", sum(map(len, sets.values())), share=0.05)
    runs = evaluator.evaluate([RunSpec(questions, "unsteered") for questions in sets.values()])
    return dict(zip(sets, runs, strict=True))


def massive_arm(subject: Subject, r: float, how: Intervention) -> tuple[Push, ...]:
    """The subject's pushes along their massive dims only, at the c that this part has inside v (docs/science.md, 4.6)."""
    return _arm(subject, r, how, massive=True)


def clean_arm(subject: Subject, r: float, how: Intervention) -> tuple[Push, ...]:
    """The subject's pushes without their massive dims, at the same c."""
    return _arm(subject, r, how, massive=False)


def _arm(subject: Subject, r: float, how: Intervention, *, massive: bool) -> tuple[Push, ...]:
    """One part of each push, as a vector of norm one times the c of that part. A layer where nothing of a push is left has no push."""
    pushes = []
    for push in subject.pushes(r, operation="add", scope=how.scope, sign=how.sign):
        listed_D = torch.zeros_like(push.vector, dtype=torch.bool)
        listed_D[list(push.massive)] = True
        part_D = push.vector.masked_fill(listed_D != massive, 0)
        norm = float(part_D.norm())
        if norm > 0:
            pushes.append(replace(push, vector=part_D / norm, coefficient=push.coefficient * norm))
    return tuple(pushes)


def by_group(searched: Iterable[Searched]) -> dict[str, list[Searched]]:
    """Searched subjects by `subject.group`; the subjects of a group compete for one row of the report."""
    groups: dict[str, list[Searched]] = {}
    for member in searched:
        groups.setdefault(member.subject.group, []).append(member)
    return groups
