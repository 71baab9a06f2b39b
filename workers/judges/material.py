"""What a judge is opened for: the trait, and where it is fitted, what an extraction kept of it and what will be judged. Imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from terms.documents.judge import ClassResponse, JudgedQuestion
from terms.documents.trait import TraitDataset
from terms.judging import MOST_QUESTIONS, MOST_UNRELATED
from terms.values import Json

Row = TypeVar("Row")
CLASSES: tuple[Literal["positive", "negative"], ...] = ("positive", "negative")


@dataclass(frozen=True)
class Prompted:
    """A prompt that the model answers unsteered. Prompts of one cluster are nearly the same."""

    text: str
    system_prompt: str | None
    cluster: str


@dataclass(frozen=True, eq=False)
class Material:
    """A trait's dataset, and for a judge that is fitted what an extraction kept of it.

    `responses` are lines of its responses.jsonl, None without an extraction; `given` ones came with the dataset and are not the model's own.
    `questions` are those to be judged, with their `set`; the trait's own when left out. The answers to be judged have at most
    `max_new_tokens`.
    """

    trait: TraitDataset
    responses: Sequence[ClassResponse] | None
    max_new_tokens: int
    given: bool = False
    questions: Sequence[JudgedQuestion] | None = None

    def to_list(self) -> list[Json]:
        """All of it, as JSON values: what the hash of a kept judge is made of."""
        limits = {"max_new_tokens": self.max_new_tokens, "given": self.given, "questions": self.questions}
        return [self.trait, self.responses, limits]

    @property
    def sets(self) -> dict[str, list[JudgedQuestion]]:
        """The questions by set, in order."""
        found: dict[str, list[JudgedQuestion]] = {}
        for one in questions_of(self.trait) if self.questions is None else self.questions:
            found.setdefault(one["set"], []).append(one)
        return found

    def asked(self, *, labelled: bool) -> list[tuple[Prompted, str]]:
        """What the model answers unsteered, each with its label: the trait's prompts if `labelled`, some of each set, unrelated ones."""
        asked = labelled_rows(self.trait) if labelled else []
        for name, questions in self.sets.items():
            some = spread(questions, MOST_QUESTIONS)
            asked += [(_prompted(one["question"], one["system_prompt"], one["cluster"]), f"set {name}") for one in some]
        unrelated = spread(self.trait.get("unrelated") or (), MOST_UNRELATED)
        return asked + [(_prompted(one["question"], None, one.get("cluster")), "unrelated") for one in unrelated]


def labelled_rows(trait: TraitDataset) -> list[tuple[Prompted, str]]:
    """The trait's extraction prompts with their class, positives first."""
    return [
        (_prompted(row["prompt"], row.get("system_prompt"), row.get("cluster")), name) for name in CLASSES for row in trait[name]
    ]


def questions_of(trait: TraitDataset) -> list[JudgedQuestion]:
    """The trait's questions, each with its `set`: selection, test, paraphrases."""
    listed: list[JudgedQuestion] = [
        {
            "question": one["question"],
            "system_prompt": one.get("system_prompt"),
            "cluster": one.get("cluster") or one["question"],
            "set": one.get("split") or "test",
        }
        for one in trait["steering"]["questions"]
    ]
    rephrased: list[JudgedQuestion] = [
        {
            "question": one["question"],
            "system_prompt": None,
            "cluster": one.get("cluster") or one["question"],
            "set": "paraphrases",
        }
        for one in trait.get("paraphrases") or ()
    ]
    return listed + rephrased


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most `most` rows, at even distances."""
    return [rows[place * len(rows) // most] for place in range(most)] if len(rows) > most else list(rows)


def _prompted(text: str, system_prompt: str | None, cluster: str | None) -> Prompted:
    """A prompt without a cluster is its own."""
    return Prompted(text, system_prompt, cluster or text)
