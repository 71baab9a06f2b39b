"""Decides whether the scores of a judge allow a conclusion: by what the judge measured of itself, and by how many answers it could not score."""

from collections.abc import Sequence

from binnacle.words.rounding import decimals
from terms.documents.judge import JudgeFacts
from workers.job import JobFault
from workers.judges.base import Judge
from workers.steering.runs import Run

MOST_FAILED = 0.2
"""The largest share of answers on which the judge may fail; above it no conclusion is drawn."""


def facts_of(judge: Judge) -> JudgeFacts:
    """The judge's measurements of its own accuracy; empty for a judge without any."""
    facts: JudgeFacts = getattr(judge, "facts", JudgeFacts())
    return facts


def can_tell(facts: JudgeFacts) -> bool:
    """Whether verdicts may rest on a judge with these facts: False only if its measured accuracy shows that it cannot tell the classes apart."""
    return facts.get("tells_apart") is not False


def check_failures(runs: Sequence[Run]) -> None:
    """Raises JobFault judge_unusable where the judge failed on too many answers for a conclusion. Where no answer has a coherence, this judge
    scores the trait alone."""
    answers = [answer for run in runs for answer in run.answers]
    coherent = any(answer.coherence is not None for answer in answers)
    failed = sum(answer.failed if coherent else answer.trait is None for answer in answers) / len(answers)
    if failed > MOST_FAILED:
        shown = f"{100 * failed:.{decimals(100 * failed, [100 * MOST_FAILED], 0)}f}"
        raise JobFault(
            "judge_unusable",
            f"The judge gave no score of trait or coherence for {shown} % of {len(answers):,} answers (at most {100 * MOST_FAILED:.0f} % may "
            "fail). The texts are kept: score them again with another judge.",
        )
