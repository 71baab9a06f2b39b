"""A run is one set of questions answered under one intervention, and judged. `RunSpec` is the request, `Run` the result.

A run's id holds only what decides its answers within a job, so a run requested by two stages is computed once.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terms.documents.judge import RawScore
from terms.documents.steering import PushEffect
from workers.judges.base import NO_SCALE, Score
from workers.lm.interventions import Push
from workers.steering.questions import Question
from workers.steering.subjects import Subject


@dataclass(frozen=True, eq=False)
class RunSpec:
    """The request for `questions` answered under `pushes`. `label` names a run without a subject (unsteered, prompt_only), or an arm of a
    subject. `r` is the dose; for a subject without a clean dose it is the raw dose, which results show as `r_raw` alone."""

    questions: Sequence[Question]
    label: str
    pushes: tuple[Push, ...] = ()
    subject: Subject | None = None
    r: float | None = None

    @property
    def set(self) -> str:
        """The name of the set that the questions are of."""
        return self.questions[0].set

    @property
    def id(self) -> str:
        """A readable id, safe in a path.

        The id holds set, label and pushes without their vectors: within a job the label (the subject's name) determines the vectors, the set
        its questions.
        """
        coefficients = [[push.layer, push.component, push.operation, push.scope, push.coefficient] for push in self.pushes]
        canonical = json.dumps([self.set, self.label, coefficients], separators=(",", ":"))
        dose = "" if self.r is None or (self.subject and not self.subject.has_clean_dose) else f"-r{self.r:.4g}"
        readable = re.sub(r"[^A-Za-z0-9.+-]+", "_", f"{self.set}-{self.label}{dose}")
        return f"{readable[:120]}-{hashlib.sha256(canonical.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Answer:
    """One judged answer. Scores are 0-100; None where the judge failed."""

    ids: tuple[int, ...]
    text: str
    ended: bool
    finite: bool
    trait: float | None
    coherence: float | None
    relevance: float | None
    raw: RawScore

    @property
    def failed(self) -> bool:
        """Whether the judge could not score the trait or the coherence; a judge without a scale of coherence is not at fault."""
        no_coherence = self.coherence is None and self.raw.get("failures", {}).get("coherence") != NO_SCALE
        return self.trait is None or no_coherence


def judged(ids: Sequence[int], text: str, *, ended: bool, finite: bool, score: Score, raw: RawScore) -> Answer:
    """The answer with its score. An answer with overflowed logits is incoherent, however well its text before that reads."""
    coherence = score.coherence if finite else 0.0
    return Answer(tuple(ids), text, ended, finite, score.trait, coherence, score.relevance, raw)


@dataclass(frozen=True, eq=False)
class Run:
    """A set of questions answered under one intervention, and judged. `effect`: how often the hooks fired and the mean change of the residual
    stream at the site, over all answers."""

    spec: RunSpec
    answers: tuple[Answer, ...]
    effect: PushEffect = field(default_factory=PushEffect)

    @property
    def trait(self) -> NDArray[np.float64]:
        """Trait scores [Q]; NaN where the judge failed."""
        return _column([answer.trait for answer in self.answers])

    @property
    def coherence(self) -> NDArray[np.float64]:
        """Coherence scores [Q]; NaN where the judge failed."""
        return _column([answer.coherence for answer in self.answers])

    @property
    def failed(self) -> int:
        """The number of answers that the judge could not score."""
        return sum(answer.failed for answer in self.answers)

    def to_bytes(self) -> bytes:
        """The bytes of the run for its cell."""
        kept = {"effect": self.effect, "answers": _lines(self.answers)}
        return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, spec: RunSpec, data: bytes) -> "Run":
        """Restores the run from its cell."""
        stored = json.loads(data)
        return cls(spec, _answers(stored["answers"]), stored["effect"])


@dataclass(frozen=True, eq=False)
class Part:
    """The judged answers to some of a run's questions, in order. `changes`: for each answer, how often its hooks fired and the mean change of
    the residual stream at the site."""

    answers: tuple[Answer, ...]
    changes: tuple[tuple[int, float], ...]

    def to_bytes(self) -> bytes:
        """The bytes of the part for the cell of an unfinished run."""
        kept = {"changes": self.changes, "answers": _lines(self.answers)}
        return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Part":
        """Restores the part from its cell."""
        stored = json.loads(data)
        return cls(_answers(stored["answers"]), tuple((fires, change) for fires, change in stored["changes"]))


def _lines(answers: Sequence[Answer]) -> list[list[object]]:
    return [
        [list(answer.ids), answer.text, answer.ended, answer.finite, answer.trait, answer.coherence, answer.relevance, answer.raw]
        for answer in answers
    ]


def _answers(lines: Sequence[Sequence[Any]]) -> tuple[Answer, ...]:
    return tuple(Answer(tuple(ids), *rest) for ids, *rest in lines)


def _column(scores: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
