"""Measures the off-target matrix: effects of a vector on traits other than its own (docs/science.md, 5, evidence: full).

The model answers another trait's test questions under each method's chosen vector at its chosen dose. That trait's own judge scores
the answers.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from terms.documents import steering as documents
from terms.documents.extraction import RespondedLine
from terms.documents.judge import JudgeIdentity
from terms.documents.reading import read_responses, read_trait
from terms.specs import OffTargetSpec
from workers.job import JobContext
from workers.judges.material import Material
from workers.judges.opening import open_judge
from workers.steering.effects import Scoring, effect_of, scores_of
from workers.steering.evaluator import Evaluator
from workers.steering.groups import Reported
from workers.steering.runs import Run, RunSpec
from workers.steering.setup import Setup


@dataclass(frozen=True, eq=False)
class OffTarget:
    """The runs on one other trait's questions: unsteered, and under the vector of each group."""

    trait: str
    base: Run
    by_group: Mapping[str, Run]
    judge: JudgeIdentity
    runs: Sequence[Run]

    def facts(self) -> documents.OffTarget:
        """The trait, its judge and its unsteered scores, which the matrix stores in addition to the effects."""
        return {
            "trait": self.trait,
            "judge": self.judge,
            "unsteered": scores_of(self.base),
        }

    def effect(self, group: str, scoring: Scoring) -> documents.Effect:
        """The change of this trait's score under the group's vector; positive means more of it, also in a job that suppresses."""
        return effect_of(self.by_group[group], self.base, Scoring(scoring.threshold, 1, scoring.seed))


def measure(setup: Setup, asked: OffTargetSpec, reported: Mapping[str, Reported], context: JobContext) -> OffTarget:
    """Answers and judges another trait's test questions, unsteered and under each reported group's vector at its chosen dose.

    Raises JobFault of the judge.
    """
    lm, spec = setup.lm, setup.spec
    name = asked["trait"]["name"]
    trait = read_trait(context.blob(asked["trait"]["version"]))
    questions = setup.later[f"off_target:{name}"]
    context.phase(f"preparing the judge of {name}", 1, "judges")
    material = Material(
        trait,
        responses_of(asked["extraction"], context),
        spec["max_new_tokens"],
        given=asked.get("responses_given", False),
        questions=[question.described() for question in questions],
    )
    with closing(open_judge(spec["judge"], lm, material, context)) as judge:
        evaluator = Evaluator(
            lm, context, judge, max_new_tokens=spec["max_new_tokens"], batch_rows=setup.rows, sampling=spec["sampling"]
        )
        evaluator.begin(f"answering questions on {name}", (1 + len(reported)) * len(questions))
        specs = [setup.how.spec(group.searched.subject, questions, group.best.spec.r) for group in reported.values()]
        base, *steered = evaluator.evaluate([RunSpec(questions, "unsteered"), *specs])
    return OffTarget(name, base, dict(zip(reported, steered, strict=True)), judge.identity, evaluator.runs)


def responses_of(extraction: str | None, context: JobContext) -> list[RespondedLine] | None:
    """The responses stored by an extraction's job, for fitting a judge; None without an extraction."""
    if extraction is None:
        return None
    return list(read_responses(context.artifact(extraction, "responses.jsonl")))
