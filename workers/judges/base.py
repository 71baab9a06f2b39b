"""The interface of all judges: answers in, scores of 0 to 100 out, and an identity that is stored with every result.

A missing score is None, with the reason under `raw["failures"]`; it is counted and never replaced by a number. Imports neither torch nor HTTP.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from terms.documents.judge import JudgeIdentity, RawScore


@dataclass(frozen=True)
class JudgeItem:
    """One answer to judge. `ids` are the answer's token ids and `prompt_ids` those of its prompt, both from the model that gave the answer;
    judges that read only text need neither."""

    question: str
    system_prompt: str | None
    text: str
    ids: Sequence[int] = ()
    prompt_ids: Sequence[int] = ()


NO_SCALE = "no scale"
"""The failure of a coherence that the judge scores for no answer, because its scale has no length: no single answer has failed."""


@dataclass(frozen=True)
class Score:
    """The scores of one answer, 0-100 each; None for a missing score. `raw` holds the judge's evidence as JSON: it is stored with the answer, so
    that scores can be checked and recomputed."""

    trait: float | None
    coherence: float | None
    relevance: float | None = None
    raw: RawScore = field(default_factory=RawScore)


class Judge(Protocol):
    """Scores answers to one trait's questions."""

    @property
    def identity(self) -> JudgeIdentity:
        """The facts that identify a judge: `name`, `version`, `prompt_hash` at least. Stored with every result."""

    @property
    def uses_device(self) -> bool:
        """Whether scoring runs on the worker's device, so that it cannot overlap with generation."""

    @property
    def tally(self) -> Mapping[str, int]:
        """Counts so far: items, failures by kind, requests, tokens."""

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        """Returns a score for each item, in order. Raises TransientFault when the judge cannot be reached, JobFault judge_unusable when it
        cannot judge."""

    def submit(self, items: Sequence[JudgeItem]) -> Future[list[Score]]:
        """Starts `score`; runs in parallel with the caller's own work where the judge does not use the device."""

    def close(self) -> None:
        """Stops the judge's requests. The caller that opened the judge must close it, also after a fault."""


def done(scores: list[Score]) -> Future[list[Score]]:
    """A future that already holds its result, for `submit` of judges that share the device."""
    future: Future[list[Score]] = Future()
    future.set_result(scores)
    return future


def failures(scores: Sequence[Score]) -> Counter[str]:
    """Counts the missing scores by kind (`trait`, `coherence`, `relevance`)."""
    return Counter(name for score in scores for name in score.raw.get("failures", {}))
