"""What a judge is opened for: the trait, and where it is fitted, what an extraction kept of it and what will be judged. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from terms.judging import MOST_QUESTIONS, MOST_UNRELATED

CLASSES = ("positive", "negative")


@dataclass(frozen=True, eq=False)
class Material:
    """A trait's dataset, and for a judge that is fitted what an extraction kept of it.

    `responses` are lines of its responses.jsonl, None without an extraction; `given` ones came with the dataset and are not the model's own.
    `questions` are those to be judged, with their `set`; the trait's own when left out. The answers to be judged have at most
    `max_new_tokens`.
    """

    trait: Mapping[str, Any]
    responses: Sequence[Mapping[str, Any]] | None
    max_new_tokens: int
    given: bool = False
    questions: Sequence[Mapping[str, Any]] | None = None

    def to_list(self) -> list[Any]:
        """All of it, as JSON values: what the hash of a kept judge is made of."""
        limits = {"max_new_tokens": self.max_new_tokens, "given": self.given, "questions": self.questions}
        return [self.trait, self.responses, limits]

    @property
    def sets(self) -> dict[str, list[Mapping[str, Any]]]:
        """The questions by set."""
        return by_set(questions_of(self.trait) if self.questions is None else self.questions)

    def asked(self, *, labelled: bool) -> list[tuple[Mapping[str, Any], str]]:
        """What the model answers unsteered, each with its label: the trait's prompts if `labelled`, some of each set, unrelated ones."""
        asked = labelled_rows(self.trait) if labelled else []
        asked += [(row, f"set {name}") for name, rows in self.sets.items() for row in spread(rows, MOST_QUESTIONS)]
        return asked + [(row, "unrelated") for row in spread(self.trait.get("unrelated") or (), MOST_UNRELATED)]


def labelled_rows(trait: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """The trait's extraction prompts with their class, positives first."""
    return [(row, name) for name in CLASSES for row in trait[name]]


def questions_of(trait: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The trait's questions, each with its `set`: selection, test, paraphrases."""
    listed = [{**one, "set": one.get("split") or "test"} for one in trait["steering"]["questions"]]
    return listed + [{**one, "set": "paraphrases"} for one in trait.get("paraphrases") or ()]


def by_set(questions: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The questions by their `set`, in order; those without one are a set of their own."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for one in questions:
        found.setdefault(one.get("set") or "", []).append(one)
    return found


def spread(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """At most `most` rows, at even distances."""
    return [rows[place * len(rows) // most] for place in range(most)] if len(rows) > most else list(rows)
