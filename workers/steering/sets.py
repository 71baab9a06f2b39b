"""The runs of a steering, stage by stage: search on selection questions, then everything that is reported, on test questions.

Each stage asks for all its runs at once, so that they share batches. What two stages both ask for is run once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from workers.lm.interventions import Push
from workers.steering.evaluator import Evaluator
from workers.steering.questions import Question
from workers.steering.runs import Run, RunSpec
from workers.steering.subjects import Operation, Scope, Subject


@dataclass(frozen=True)
class Intervention:
    """What is the same for every run of a job. `sign` is -1 where the trait is to be suppressed."""

    operation: Operation
    scope: Scope
    sign: int
    plain: bool = False

    def spec(self, subject: Subject, questions: Sequence[Question], r: float | None) -> RunSpec:
        """The subject at dose r on these questions, under its twin's name where it has one; `ablate` has no dose."""
        pushes = subject.pushes(
            1.0 if r is None else r, operation=self.operation, scope=self.scope, sign=self.sign, plain=self.plain
        )
        return RunSpec(questions, subject.same_as or subject.name, pushes, subject, r)


@dataclass(frozen=True, eq=False)
class Searched:
    """A subject and its selection runs in ascending dose; `best` is one of them, None where it never ran or has no clean dose."""

    subject: Subject
    curve: tuple[Run, ...]
    best: Run | None
    stopped: str | None = None


@dataclass(frozen=True, eq=False)
class Reported:
    """A group's chosen subject and its runs on test questions. `matched` holds what could not be reached as a sentence."""

    searched: Searched
    best: Run
    matched: Mapping[str, Run | str | None]
    controls: Mapping[str, Sequence[Run]] = field(default_factory=dict)
    arms: Mapping[str, Run] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, Run]] = field(default_factory=dict)
    refits: Sequence[Run] = ()


def unsteered(evaluator: Evaluator, sets: Mapping[str, Sequence[Question]]) -> dict[str, Run]:
    """Every set without intervention."""
    evaluator.begin("answering unsteered", len(sets), share=0.05)
    runs = evaluator.evaluate([RunSpec(questions, "unsteered") for questions in sets.values()])
    return dict(zip(sets, runs, strict=True))


def massive_arm(subject: Subject, r: float, how: Intervention) -> tuple[Push, ...]:
    """The subject's pushes with only their massive dims left, at the c each part has inside v (docs/science.md, 4.6)."""
    pushes = []
    for push in subject.pushes(r, operation="add", scope=how.scope, sign=how.sign):
        only = torch.zeros_like(push.vector)
        only[list(push.massive)] = push.vector[list(push.massive)]
        pushes.append(_scaled(push, only))
    return tuple(pushes)


def clean_arm(subject: Subject, r: float, how: Intervention) -> tuple[Push, ...]:
    """The subject's pushes without their massive dims, at the same c."""
    pushes = []
    for push in subject.pushes(r, operation="add", scope=how.scope, sign=how.sign):
        rest = push.vector.clone()
        rest[list(push.massive)] = 0
        pushes.append(_scaled(push, rest))
    return tuple(pushes)


def _scaled(push: Push, vector_D: torch.Tensor) -> Push:
    """A push of `push.coefficient * vector_D`, whose vector is of norm one as the engine asks."""
    norm = float(vector_D.norm())
    unit = vector_D / norm if norm > 0 else vector_D
    return Push(push.layer, push.component, unit, push.coefficient * norm, push.operation, push.scope, push.massive)


def by_group(searched: Iterable[Searched]) -> dict[str, list[Searched]]:
    """Searched subjects by what competes as one row."""
    groups: dict[str, list[Searched]] = {}
    for one in searched:
        groups.setdefault(one.subject.group, []).append(one)
    return groups
