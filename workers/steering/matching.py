"""Finds the doses at which vectors are compared besides their best doses: equal coherence, and equal divergence from the unsteered model.

Coherence needs runs of the evaluator on the selection questions; divergence is read from the model's logits, without new answers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.lm.divergence import divergences
from workers.science.matching import FIRST_TOKENS, CoherenceMatch, DivergenceMatch, p95
from workers.steering.effects import coherence_of
from workers.steering.groups import Searched
from workers.steering.runs import Run
from workers.steering.setup import Setup
from workers.steering.subjects import Subject

HALF = 0.5
ONE_NAT = 1.0
OVERFLOWED = "the leader's logits are not finite at its best dose, so its divergence has no size to match"
"""Why no vector is compared at the leader's divergence."""
DOSES_TO_MATCH = 8
"""Approximate number of doses of a vector measured for divergence; used for the progress display only."""


@dataclass(frozen=True)
class Divergences:
    """Matched doses. `targets` in nats by the name of the way of matching; `doses[name][group]` is the dose that reaches the target, a sentence
    with the reason why none does, or None for a group without a best dose."""

    targets: Mapping[str, float] = field(default_factory=dict)
    doses: Mapping[str, Mapping[str, float | str | None]] = field(default_factory=dict)


def match_coherence(setup: Setup, chosen: Mapping[str, Searched], leader: str) -> dict[str, float | str | None]:
    """Returns for each group the largest dose, of the sign of the leader's best, with a coherence within +-2 of the leader's on the selection
    questions, a sentence with the reason why none has it, or None for a group without a best dose, which is not searched."""
    target, sign = coherence_of(chosen[leader].best_run), _sign_of(chosen[leader])
    states = {
        group: CoherenceMatch({run.spec.r: coherence_of(run) for run in choice.curve if run.spec.r}, target=target, sign=sign)
        for group, choice in chosen.items()
        if choice.best is not None and choice.subject.same_as is None
    }
    setup.evaluator.begin("matching coherence", 2 * len(states) * len(setup.sets["selection"]), share=0.1)
    while asked := [(group, r) for group, state in states.items() if (r := state.next()) is not None]:
        runs = setup.evaluator.evaluate([setup.planned(chosen[group].subject, "selection", r) for group, r in asked])
        for (group, r), run in zip(asked, runs, strict=True):
            states[group].record(r, coherence_of(run))
    by_subject = {
        chosen[group].subject.name: state.unreachable if state.found is None else state.found for group, state in states.items()
    }
    return {group: by_subject.get(choice.subject.same_as or choice.subject.name) for group, choice in chosen.items()}


def _sign_of(leader: Searched) -> int:
    """The sign of the leader's best dose: -1 where a raw coefficient pushed against the requested direction."""
    return -1 if (leader.best_run.spec.r or 0.0) < 0 else 1


def match_divergence(setup: Setup, chosen: Mapping[str, Searched], base: Run, leader: str) -> Divergences:
    """Doses of equal divergence, of the sign of the leader's best: the p95 of the leader's best run on the selection questions, half of it, and
    1 nat where that is in range.

    Teacher-forced on the unsteered greedy answers `base`, first 20 tokens; nothing is generated. An infinite divergence is no target.
    """
    measure = _Measured(setup, base)
    setup.evaluator.begin("matching divergence", len(chosen) * DOSES_TO_MATCH, share=0.1, unit="doses")
    best, sign = chosen[leader].best_run, _sign_of(chosen[leader])
    assert best.spec.subject is not None
    budget = measure.at(best.spec.subject, best.spec.r or 0.0)
    targets = {"divergence": budget, "divergence_half": HALF * budget} if math.isfinite(budget) else {}
    if budget > ONE_NAT:
        targets["divergence_1_nat"] = ONE_NAT
    doses: dict[str, Mapping[str, float | str | None]] = {
        name: {
            group: None if choice.best is None else measure.dose_reaching(choice.subject, target, sign)
            for group, choice in chosen.items()
        }
        for name, target in targets.items()
    }
    if "divergence" not in targets:
        doses["divergence"] = dict.fromkeys(chosen, OVERFLOWED)
    return Divergences(targets, doses)


class _Measured:
    """Measures the divergence of subjects by dose, each once; subjects with the same vector share it."""

    def __init__(self, setup: Setup, base: Run) -> None:
        self._setup = setup
        self._texts: Sequence[tuple[Sequence[int], Sequence[int]]] = [
            (question.prompt_ids, answer.ids[:FIRST_TOKENS])
            for question, answer in zip(base.spec.questions, base.answers, strict=True)
            if answer.ids
        ]
        self._known: dict[str, dict[float, float]] = {}

    def at(self, subject: Subject, r: float) -> float:
        """The divergence of one subject at dose `r`: the p95 over texts, in nats."""
        known = self._known.setdefault(subject.same_as or subject.name, {})
        if r not in known:
            how = self._setup.how
            pushes = subject.pushes(r, operation=how.operation, scope=how.scope, sign=how.sign)
            asked = [(prompt, ids, pushes) for prompt, ids in self._texts]
            evaluator = self._setup.evaluator
            known[r] = p95(divergences(self._setup.lm, asked, batch_rows=self._setup.rows, on_batch=evaluator.alive))
            evaluator.tick()
        return known[r]

    def dose_reaching(self, subject: Subject, target: float, sign: int) -> float | str | None:
        """The dose of this sign with the target divergence, or the reason why none has it."""
        state = DivergenceMatch(self._known.get(subject.same_as or subject.name), target=target, sign=sign)
        while (r := state.next()) is not None:
            state.record(r, self.at(subject, r))
        return state.unreachable if state.found is None else state.found
