"""Request and response schemas of generations: a few prompts under a few vectors at a few doses, no judge."""

from typing import Annotated, Self

from pydantic import AliasChoices, BaseModel, Field, model_validator

from app.http.renamed import RenamedAnswer
from app.jobs.prompts import Prompt
from app.jobs.schemas import PromptedRequest
from app.models.reading import DOUBT, READING
from app.models.running import RunningOut
from app.quotas.schemas import Admission
from app.steerings.schemas import CalibrationRef, Coefficient, Dose, SamplingIn, Sibling, VectorId
from app.text import Line
from terms.interventions import Operation, Scope


class GenerationRequest(PromptedRequest):
    """A request to answer every prompt unsteered, and under every vector at every dose."""

    model: Line = Field(min_length=1, max_length=200, examples=["demo-severe"])
    prompts: list[Prompt] = Field(min_length=1, max_length=64)
    vectors: list[VectorId] = Field(
        default_factory=list, max_length=64, description="vectors to steer with; without any the model answers unsteered"
    )
    sibling: Sibling = False
    doses: list[Dose] | None = Field(None, min_length=1, max_length=32, description="doses r; 0.25, 0.5 and 1 when left out")
    coefficients: list[Coefficient] | None = Field(
        None, min_length=1, max_length=32, description="raw coefficients c instead; they wait for no calibration"
    )
    calibration: CalibrationRef | None = Field(
        None,
        description="the calibration that doses are measured with; when left out one is found, or made unless /coefficients are given",
    )
    operation: Operation = "add"
    scope: Scope = "all"
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    sampling: SamplingIn | None = None

    @model_validator(mode="after")
    def _one_way_of_dosing(self) -> Self:
        if self.doses is not None and self.coefficients is not None:
            raise ValueError(
                "/doses and /coefficients exclude each other: give one of them, or neither for doses of 0.25, 0.5 and 1"
            )
        if self.operation == "ablate" and (self.doses is not None or self.coefficients is not None):
            raise ValueError("/operation ablate has no dose: leave /doses and /coefficients out")
        if self.operation == "norm_match" and self.coefficients is not None:
            raise ValueError("/operation norm_match takes no raw coefficient: give /doses, or leave /coefficients out")
        return self


class GenerationCost(BaseModel):
    """The size of a generation: its answers and tokens, and the arithmetic."""

    answers: int
    generated_tokens: int
    limit: int = Field(description="most answers in a generation on this server")
    arithmetic: str


class PricedGeneration(GenerationCost, RunningOut):
    """The size of a generation, its engine and memory, and whether quotas admit it now."""

    admission: Admission = Field(description="whether your quotas admit the request now")


class AnswerOut(RenamedAnswer):
    """One answer. `vector` null: unsteered."""

    vector: str | None
    source_model: str | None = Field(None, description="the sibling that the vector was made on; null for vectors of this model")
    prompt: str
    system_prompt: str | None
    r: float | None = Field(
        validation_alias=AliasChoices("dose", "r"),
        description="the dose r; null where nothing was calibrated, and for a vector without a clean dose",
    )
    r_raw: float | None = Field(
        validation_alias=AliasChoices("raw_dose", "r_raw"),
        description="the coefficient over the norm that doses are measured with",
    )
    c: float | None = Field(validation_alias=AliasChoices("coefficient", "c"), description="the coefficient c")
    text: str
    ended: bool = Field(description="whether the model ended the answer before the limit of tokens")
    finite: bool = Field(description="false: the push made logits overflow, and the text is not an answer")
    fires: int = Field(description="pairs of site and position at which the push was applied")
    mean_change: float = Field(description="mean norm of the change at the site")


class GenerationOut(BaseModel):
    """A finished generation."""

    job: str
    model: str
    reading_hash: str | None = Field(description=READING)
    doubt: str | None = Field(description=DOUBT)
    answers: list[AnswerOut]
