"""The request schema of a steering. The service checks limits that depend on the server or the model."""

from operator import not_
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.jobs.prompts import Text, short_for
from app.jobs.schemas import JobRequest, PromptedRequest
from app.models.layers import Layers
from app.text import Line
from terms.interventions import Operation, Scope
from terms.positions import as_stored
from terms.specs import AskedQuestion, Controls, ExtraSet, OwnQuestions, RightOrWrong, Sampling

VectorId = Annotated[str, StringConstraints(pattern=r"^vec_[0-9a-z]{26}$")]
Sibling = Annotated[
    bool,
    Field(
        exclude_if=not_,  # without the field, a request has the same hash as before the field existed, so its Idempotency-Key still matches
        description="allow vectors of another model with the same layers and widths, such as the base of an instruction-tuned one",
    ),
]


def _pushing(c: float) -> float:
    if c == 0:
        raise ValueError("a coefficient of 0 does not steer; the unsteered answers are always among the results")
    return c


Dose = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Coefficient = Annotated[
    float, Field(ge=-1e7, le=1e7, allow_inf_nan=False, json_schema_extra={"not": {"const": 0}}), AfterValidator(_pushing)
]
SourceId = Annotated[str, StringConstraints(pattern=r"^(ext|job)_[0-9a-z]{26}$")]
CalibrationRef = Annotated[str, StringConstraints(pattern=r"^(cal|job)_[0-9a-z]{26}$")]


MOST_METHODS = 100
"""Most methods that one steering takes from an extraction."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class QuestionIn(_Strict):
    """One question. Questions of one cluster are nearly the same question and are resampled together."""

    question: Text
    system_prompt: Text | None = None
    cluster: Line | None = Field(None, min_length=1, max_length=500)

    def spec(self) -> AskedQuestion:
        """Returns the fields as a spec stores them."""
        return {"question": self.question, "system_prompt": self.system_prompt, "cluster": self.cluster}


Question = Annotated[QuestionIn, short_for(QuestionIn, "question")]


class QuestionsIn(_Strict):
    """Your own questions instead of the trait's: the dose is chosen on `selection` and reported on `test`."""

    selection: list[Question] = Field(min_length=1)
    test: list[Question] = Field(min_length=1)

    def spec(self) -> OwnQuestions:
        """Returns the fields as a spec stores them."""
        return {
            "selection": [question.spec() for question in self.selection],
            "test": [question.spec() for question in self.test],
        }


class CapabilityIn(_Strict):
    """A question with a right answer: an answer is right if it contains `answer` as whole words; case is ignored."""

    question: Text
    answer: str = Field(min_length=1, max_length=500)
    system_prompt: Text | None = None
    cluster: Line | None = Field(None, min_length=1, max_length=500)

    def spec(self) -> RightOrWrong:
        """Returns the fields as a spec stores them."""
        return {
            "question": self.question, "answer": self.answer, "system_prompt": self.system_prompt, "cluster": self.cluster,
        }  # fmt: skip


class ControlsIn(_Strict):
    """Controls that every result is compared with, at equal dose."""

    random: int = Field(3, ge=0, le=20, description="random vectors at each layer and dose that is reported")
    shuffled: int = Field(
        3, ge=0, le=20, description="vectors of the same method fitted on shuffled labels; the extraction must hold them"
    )
    prompt_only: bool = Field(True, description="also answer under a system prompt that asks for the trait, without a vector")

    def spec(self) -> Controls:
        """Returns the fields as a spec stores them."""
        return {"random": self.random, "shuffled": self.shuffled, "prompt_only": self.prompt_only}


class SamplingIn(_Strict):
    """Seeded sampling instead of greedy answers."""

    temperature: float = Field(1.0, gt=0, le=5)
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)

    def spec(self) -> Sampling:
        """Returns the fields as a spec stores them."""
        return {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}


class RescoreRequest(JobRequest):
    """A request to score the texts of a finished steering with another judge."""

    judge: Line = Field(min_length=1, max_length=100)
    coherence_threshold: float | None = Field(
        None,
        ge=0,
        le=100,
        description="least coherence of an answer that counts in `delta_joint`; the steering's own when left out",
    )


class OffTargetIn(_Strict):
    """Another trait that the vectors are tried on, scored by that trait's own judge."""

    trait: Line = Field(min_length=1, max_length=200)
    extraction: SourceId | None = Field(
        None, description="the extraction with the responses that the reference judge of that trait is fitted on"
    )


class SteeringRequest(PromptedRequest):
    """A request to measure how well vectors steer: the dose is searched on selection questions, the gain is reported on test questions,
    against controls, with intervals."""

    model: Line = Field(min_length=1, max_length=200, examples=["demo-severe"])
    trait: Line = Field(min_length=1, max_length=200, description="a trait's name, or name@version", examples=["refusal"])
    vectors: list[VectorId] | None = Field(None, min_length=1, max_length=2_000, description="vectors by id")
    extraction: SourceId | None = Field(
        None,
        description="take vectors from this extraction (or its job, finished or not); when left out, from the newest that fits, or from one "
        "that is made first",
    )
    sibling: Sibling = False
    methods: list[Line] | None = Field(
        None, min_length=1, max_length=MOST_METHODS, description="use only the extraction's vectors of these methods"
    )
    layers: Layers | None = Field(None, description="and of these layers; all when left out")
    positions: list[Annotated[Line, AfterValidator(as_stored)]] | None = Field(None, min_length=1, max_length=20)
    components: list[Line] | None = Field(None, min_length=1, max_length=7)
    combine: bool = Field(False, description="push all layers of a method at once, each at the same dose")
    calibration: CalibrationRef | None = Field(
        None, description="the calibration that doses are measured with; found or made when left out"
    )
    operation: Operation = "add"
    ablate_plain: bool = Field(
        False,
        description="also project out the vector with its massive dims, which usually empties the text; such rows are flagged",
    )
    scope: Scope = "all"
    doses: list[Dose] | None = Field(None, min_length=1, max_length=50, description="these doses r instead of a search")
    coefficients: list[Coefficient] | None = Field(
        None, min_length=1, max_length=50, description="raw coefficients c instead of a search"
    )
    budget: int = Field(6, ge=2, le=24, description="doses that the search may run for each vector and layer")
    questions: QuestionsIn | None = None
    selection_limit: int | None = Field(
        None, ge=2, description="use at most this many selection questions, taken from the clusters in turn"
    )
    test_limit: int | None = Field(
        None, ge=2, description="use at most this many test questions, taken from the clusters in turn"
    )
    max_new_tokens: int = Field(64, ge=1)
    sampling: SamplingIn | None = None
    judge: Line = Field("reference", min_length=1, max_length=100)
    coherence_threshold: float = Field(70, ge=0, le=100)
    controls: ControlsIn = Field(default_factory=ControlsIn)
    matched: list[Literal["dose", "coherence", "divergence", "coefficient"]] = Field(
        ["dose", "coherence", "divergence", "coefficient"],
        description="how vectors are compared, besides each at its best dose. `coefficient`: all at the probe's raw "
        "coefficient, which is not a fair comparison",
    )
    reference_protocol: bool = Field(
        False,
        description="also run the reference system's protocol: raw coefficients around the probe's, ten questions, none held out",
    )
    decomposition: bool = Field(
        True, description="also steer with the massive part and with the rest of mean-based vectors separately"
    )
    extra_sets: list[ExtraSet] = Field(
        default_factory=list, description="also answer these questions at the chosen dose and at half of it"
    )
    capability: list[CapabilityIn] | None = Field(
        None,
        min_length=1,
        max_length=2_000,
        description="also ask these questions at the chosen dose and at half of it, and report the share of right answers",
    )
    off_target: list[OffTargetIn] = Field(
        default_factory=list, max_length=50, description="also answer these traits' test questions at the chosen dose"
    )
    seed: int = Field(0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _one_way_of_choosing(self) -> Self:
        if self.doses is not None and self.coefficients is not None:
            raise ValueError("/doses and /coefficients exclude each other: give one of them, or neither for a search")
        if self.vectors is not None and any((self.extraction, self.methods, self.layers, self.positions, self.components)):
            raise ValueError(
                "/vectors names vectors one by one; /extraction, /methods, /layers, /positions and /components choose "
                "among the vectors of an extraction"
            )
        if self.operation == "ablate" and (self.doses is not None or self.coefficients is not None):
            raise ValueError("/operation ablate has no dose: leave /doses and /coefficients out")
        if self.operation == "norm_match" and self.coefficients is not None:
            raise ValueError("/operation norm_match takes no raw coefficient: give /doses, or leave /coefficients out")
        if self.combine and self.coefficients is not None:
            raise ValueError(
                "/combine pushes all layers at one dose, at which their raw coefficients differ: give /doses, or leave /coefficients out"
            )
        if self.ablate_plain and self.operation != "ablate":
            raise ValueError("/ablate_plain belongs to /operation ablate")
        return self
