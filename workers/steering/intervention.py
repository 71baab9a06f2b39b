"""Makes run specs and pushes from the settings that all runs of a steering share: operation, scope and sign (`Intervention`).

A run is of a whole subject, or of an arm: the part of its vectors in massive dims, or the part outside them. Nothing is run here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from terms.interventions import Operation, Scope
from workers.lm.interventions import Push
from workers.steering.questions import Question
from workers.steering.runs import RunSpec
from workers.steering.subjects import Subject


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
