"""What the unsteered model shows of the trait on each set of questions: where a text that says nothing is put."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.judges.elicited import Answered
from workers.judges.trait_classifier import NEGATIVE, POSITIVE, TraitClassifier


@dataclass(frozen=True)
class Baseline:
    """The share that shows the trait unsteered, 0-1: over all questions, by set, and each question's set."""

    overall: float
    sets: Mapping[str, float]
    set_of: Mapping[str, str]

    def of(self, question: str) -> float:
        """The share in the question's set; over all for a question of none."""
        return self.sets[self.set_of[question]] if question in self.set_of else self.overall

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"overall": self.overall, "sets": dict(self.sets), "set_of": dict(self.set_of)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Baseline":
        """The baseline that `to_json` told of."""
        return cls(stored["overall"], stored["sets"], stored["set_of"])


def measure(classifier: TraitClassifier, answers: Mapping[str, Sequence[Answered]], set_of: Mapping[str, str]) -> Baseline:
    """The baseline from the unsteered answers by set: of what they say either way, the share that shows the trait. 0 without answers."""
    together = [one for ones in answers.values() for one in ones]
    return Baseline(_share(classifier, together), {name: _share(classifier, ones) for name, ones in answers.items()}, set_of)


def _share(classifier: TraitClassifier, answers: Sequence[Answered]) -> float:
    if not answers:
        return 0.0
    p_N3 = classifier.probabilities([one.text for one in answers], [one.prompt for one in answers])
    positive, negative = (float(p_N3[:, label].sum()) for label in (POSITIVE, NEGATIVE))
    return round(positive / (positive + negative), 4)
