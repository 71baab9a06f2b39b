"""What every stage of a steering works with: the model, the questions, who answers them, and the settings that all runs share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terms.documents.calibration import Aggregate
from terms.documents.trait import TraitDataset
from terms.specs import SteeringSpec
from workers.lm.model import LanguageModel
from workers.steering.effects import Scale
from workers.steering.evaluator import Evaluator
from workers.steering.questions import Question
from workers.steering.runs import RunSpec
from workers.steering.sets import Intervention
from workers.steering.subjects import Subject


@dataclass(frozen=True, eq=False)
class Setup:
    """One steering's means. `sets` are its questions by the name of the set; `rows` is the largest batch.

    `massive` are the massive dims at each layer that a vector stands at, by the calibration; `aggregate` is that of the calibration.
    """

    spec: SteeringSpec
    lm: LanguageModel
    trait: TraitDataset
    sets: Mapping[str, Sequence[Question]]
    evaluator: Evaluator
    how: Intervention
    scale: Scale
    rows: int
    massive: Mapping[int, Sequence[int]]
    aggregate: Aggregate

    @property
    def pushes_have_doses(self) -> bool:
        """Whether runs differ in dose; directions that are ablated have none."""
        return self.how.operation != "ablate"

    def planned(self, subject: Subject, questions: str, r: float | None) -> RunSpec:
        """The run of the subject at dose r on the set of this name."""
        return self.how.spec(subject, self.sets[questions], r)
