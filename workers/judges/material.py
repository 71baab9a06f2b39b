"""Holds the inputs from which a judge is opened: the trait and, for a fitted judge, an extraction's responses and the questions to be judged.

Chooses from them the prompts that the model answers unsteered. Imports no torch; reads no file and no model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from terms.documents.judge import ClassResponse, JudgedQuestion
from terms.documents.trait import TraitDataset
from terms.judging import MOST_QUESTIONS, MOST_UNRELATED

Row = TypeVar("Row")
CLASSES: tuple[Literal["positive", "negative"], ...] = ("positive", "negative")
Inputs = Sequence[TraitDataset | Sequence[ClassResponse] | Mapping[str, int | Sequence[JudgedQuestion] | None] | None]
"""What the fit of a judge depends on besides the model (`Material.to_list`)."""


@dataclass(frozen=True)
class Prompted:
    """A prompt that the model answers unsteered. Prompts of one cluster are nearly the same."""

    text: str
    system_prompt: str | None
    cluster: str


@dataclass(frozen=True, eq=False)
class Material:
    """A trait's dataset and, for a judge that is fitted, the data kept by an extraction.

    `responses` are lines of its responses.jsonl, None without an extraction; `given` means that they came with the dataset and not from the
    model. `questions` are the questions to be judged, with their `set`; by default the trait's own. The answers to be judged have at most
    `max_new_tokens`.
    """

    trait: TraitDataset
    responses: Sequence[ClassResponse] | None
    max_new_tokens: int
    given: bool = False
    questions: Sequence[JudgedQuestion] | None = None

    def to_list(self) -> Inputs:
        """All inputs as JSON values, for the hash under which a fitted judge is stored."""
        limits = {"max_new_tokens": self.max_new_tokens, "given": self.given, "questions": self.questions}
        return [self.trait, self.responses, limits]

    @property
    def sets(self) -> dict[str, list[JudgedQuestion]]:
        """The questions by set, in order."""
        by_set: dict[str, list[JudgedQuestion]] = {}
        for question in questions_of(self.trait) if self.questions is None else self.questions:
            by_set.setdefault(question["set"], []).append(question)
        return by_set

    def asked(self, *, labelled: bool) -> list[tuple[Prompted, str]]:
        """The prompts that the model answers unsteered, each with its label: the trait's prompts if `labelled`, some of each set, and unrelated
        prompts."""
        asked = labelled_rows(self.trait) if labelled else []
        for name, questions in self.sets.items():
            some = spread(questions, MOST_QUESTIONS)
            asked += [
                (_prompted(question["question"], question["system_prompt"], question["cluster"]), f"set {name}")
                for question in some
            ]
        unrelated = spread(self.trait.get("unrelated") or (), MOST_UNRELATED)
        return asked + [(_prompted(question["question"], None, question.get("cluster")), "unrelated") for question in unrelated]


class Responded(Protocol):
    """An extraction example with its response."""

    @property
    def prompt(self) -> str: ...
    @property
    def system_prompt(self) -> str | None: ...
    @property
    def cluster(self) -> str: ...
    @property
    def positive(self) -> bool: ...
    @property
    def response(self) -> str: ...
    @property
    def response_ids(self) -> Sequence[int]: ...


def response_of(example: Responded) -> ClassResponse:
    """The example in the form of a line of responses.jsonl, with the fields that the reference judge uses."""
    return {
        "class": "positive" if example.positive else "negative",
        "prompt": example.prompt,
        "system_prompt": example.system_prompt,
        "cluster": example.cluster,
        "response": example.response,
        "response_ids": list(example.response_ids),
    }


def labelled_rows(trait: TraitDataset) -> list[tuple[Prompted, str]]:
    """The trait's extraction prompts with their class, positives first."""
    return [
        (_prompted(row["prompt"], row.get("system_prompt"), row.get("cluster")), name) for name in CLASSES for row in trait[name]
    ]


def questions_of(trait: TraitDataset) -> list[JudgedQuestion]:
    """The trait's questions, each with its `set`: selection, test, paraphrases."""
    listed: list[JudgedQuestion] = [
        {
            "question": question["question"],
            "system_prompt": question.get("system_prompt"),
            "cluster": question.get("cluster") or question["question"],
            "set": question.get("split") or "test",
        }
        for question in trait["steering"]["questions"]
    ]
    rephrased: list[JudgedQuestion] = [
        {
            "question": paraphrase["question"],
            "system_prompt": None,
            "cluster": paraphrase.get("cluster") or paraphrase["question"],
            "set": "paraphrases",
        }
        for paraphrase in trait.get("paraphrases") or ()
    ]
    return listed + rephrased


def spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most `most` rows, evenly spaced."""
    return [rows[place * len(rows) // most] for place in range(most)] if len(rows) > most else list(rows)


def _prompted(text: str, system_prompt: str | None, cluster: str | None) -> Prompted:
    """Makes a prompt; without a `cluster` it forms a cluster by itself."""
    return Prompted(text, system_prompt, cluster or text)
