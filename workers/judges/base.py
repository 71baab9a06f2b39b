"""What every judge is: answers in, scores of 0 to 100 out, and a name for itself that goes into every result.

A score that could not be made is None, with the reason under `raw["failures"]`; it is counted and never replaced by a number. Imports
neither torch nor HTTP.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from terms.documents.judge import RawScore
from terms.documents.steering import JudgeIdentity


@dataclass(frozen=True)
class JudgeItem:
    """One answer to judge. `ids` are the answer's token ids and `prompt_ids` those it followed, both of the model that gave it; judges
    that read text alone need neither."""

    question: str
    system_prompt: str | None
    text: str
    ids: Sequence[int] = ()
    prompt_ids: Sequence[int] = ()


@dataclass(frozen=True)
class Score:
    """0-100 each, None where there is none. `raw` is what the judge saw, for JSON: kept with the answer, so that scores can be checked and
    redone."""

    trait: float | None
    coherence: float | None
    relevance: float | None = None
    raw: RawScore = field(default_factory=RawScore)


class Judge(Protocol):
    """Scores answers to one trait's questions."""

    @property
    def identity(self) -> JudgeIdentity:
        """What makes two judges the same: `name`, `version`, `prompt_hash` at least. Stored with every result."""

    @property
    def uses_device(self) -> bool:
        """Whether scoring runs on the worker's device, so that it cannot overlap with generation."""

    @property
    def tally(self) -> Mapping[str, int]:
        """Counts so far: items, failures by kind, requests, tokens."""

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        """A score for each item, in order. Raises TransientFault when the judge is away, JobFault judge_unusable when it is none."""

    def submit(self, items: Sequence[JudgeItem]) -> Future[list[Score]]:
        """The same, beside the caller's own work where the judge does not use the device."""

    def close(self) -> None:
        """Ends what the judge has running. Whoever opened it closes it, also after a fault."""


def done(scores: list[Score]) -> Future[list[Score]]:
    """A future that already holds its result: `submit` of judges that share the device."""
    future: Future[list[Score]] = Future()
    future.set_result(scores)
    return future


def failures(scores: Sequence[Score]) -> Counter[str]:
    """How many scores are missing, by what they are of (`trait`, `coherence`, `relevance`)."""
    return Counter(name for score in scores for name in score.raw.get("failures", {}))
