"""The common inputs of every stage of a steering: the model, the questions, the evaluator, and the settings that all runs share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terms.documents.calibration import Aggregate
from terms.documents.trait import TraitDataset
from terms.specs import SteeringSpec
from workers.lm.model import LanguageModel
from workers.steering.effects import Scoring
from workers.steering.evaluator import Evaluator
from workers.steering.intervention import Intervention
from workers.steering.questions import Question
from workers.steering.runs import RunSpec
from workers.steering.subjects import Subject


@dataclass(frozen=True, eq=False)
class Setup:
    """The inputs of one steering. `sets` are its questions by the name of the set, `later` those of the last stages
    (`questions.later_sets`); `rows` is the largest batch. `how` is the operation, scope and sign of every push.

    `massive` are the massive dims at each layer of a vector, from the calibration; `aggregate` is the calibration's.
    """

    spec: SteeringSpec
    lm: LanguageModel
    trait: TraitDataset
    sets: Mapping[str, Sequence[Question]]
    later: Mapping[str, Sequence[Question]]
    evaluator: Evaluator
    how: Intervention
    scoring: Scoring
    rows: int
    massive: Mapping[int, Sequence[int]]
    aggregate: Aggregate

    @property
    def pushes_have_doses(self) -> bool:
        """Whether runs differ in dose; ablated directions have no dose."""
        return self.how.operation != "ablate"

    def planned(self, subject: Subject, questions: str, r: float | None) -> RunSpec:
        """The run of the subject at dose r on the set of this name."""
        return self.how.spec(subject, self.sets[questions], r)
