"""The request schema of a study: models x traits x methods, and how thorough the evidence is."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from app.jobs.schemas import PromptedRequest
from app.models.layers import Layers
from app.steerings.schemas import CapabilityIn, ControlsIn
from app.text import Line
from terms.methods import RANKED_DIMS
from terms.values import JsonField

Name = Annotated[Line, StringConstraints(min_length=1, max_length=200)]
MethodIn = Name | JsonField

METHODS = ("mean_diff", "mean_diff_rownorm", "mean_diff_top1", "mean_diff_cleaned", "probe", "probe_cleaned", "random")
"""Default methods of a study: the reference's methods, the control that explains them, and chance."""


class PublishedNumber(BaseModel):
    """A published number for the same question, shown beside this study's own number with its definition."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Name
    trait: Name
    method: Name
    position: Name = "response[:5]"
    layer: int | None = Field(None, ge=0)
    value: float = Field(allow_inf_nan=False)
    coefficient: float | None = Field(None, allow_inf_nan=False)
    definition: str = Field(
        min_length=1, max_length=1000, description="how the number was measured: questions, judge, choice of the dose"
    )
    source: Line = Field(min_length=1, max_length=500)


class LabelsIn(BaseModel):
    """A person's labels of the texts in a study's labelling.csv: 0 (does not show the trait) to 100 (fully does)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    labels: dict[
        Annotated[str, StringConstraints(pattern=r"^t?[0-9a-f]{12}$")], Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
    ] = Field(
        min_length=1,
        max_length=200,
        examples=[{"t0123456789ab": 100, "tba9876543210": 0}],
        json_schema_extra={"additionalProperties": False},
    )

    @field_validator("labels")
    @classmethod
    def _one_of_each_text(cls, labels: dict[str, float]) -> dict[str, float]:
        """Ids of earlier sheets lack the `t`."""
        if len({name.removeprefix("t") for name in labels}) < len(labels):
            raise ValueError("A text has two labels: one under its id with the leading t, one without it. Send one of them.")
        return labels


class StudyRequest(PromptedRequest):
    """A request to calibrate, extract and steer for every model and trait and to compare which method works on which model.

    Without traits: calibrate, and compare how massive the models' dimensions are.
    """

    models: list[Name] = Field(min_length=1, max_length=50, examples=[["demo-severe", "demo-plain"]])
    traits: list[Name] = Field(
        max_length=50, examples=[["refusal", "sycophancy"]], description="traits to study; without any, only calibrations run"
    )
    skip_unregistered: bool = Field(
        False, description="true: unregistered models become rows `not measured`; false: they refuse the study"
    )
    methods: list[MethodIn] = Field(list(METHODS), min_length=1, max_length=100)
    positions: list[Name] = Field(["response[:5]"], min_length=1, max_length=20)
    components: list[Name] = Field(["residual"], min_length=1, max_length=7)
    layers: Layers | Literal["middle"] = Field(
        "middle", description="layers to steer at; `middle`: every second layer of the middle half"
    )
    evidence: Literal["quick", "full"] = Field(
        "quick",
        description="full adds refits, the off-target matrix, the paraphrase and unrelated sets and the cleaning ablation",
    )
    ablation: list[Annotated[int, Field(ge=1, le=RANKED_DIMS)]] | None = Field(
        None,
        max_length=20,
        description="numbers of dims to zero in the cleaning ablation; 1, 2, 3, 5, 10 with full evidence, else none",
    )
    refits: int | None = Field(None, ge=0, le=50, description="extraction sets to refit on; 5 with full evidence, else 0")
    budget: int = Field(6, ge=2, le=24)
    max_new_tokens: int = Field(64, ge=1)
    calibration_new_tokens: int = Field(128, ge=1)
    selection_limit: int | None = Field(None, ge=2)
    test_limit: int | None = Field(None, ge=2)
    judge: Line = Field("reference", min_length=1, max_length=100)
    coherence_threshold: float = Field(70, ge=0, le=100)
    controls: ControlsIn = Field(default_factory=ControlsIn)
    matched: list[Literal["dose", "coherence", "divergence", "coefficient"]] = Field(
        ["dose", "coherence", "divergence", "coefficient"], description="how methods are compared, besides each at its best dose"
    )
    capability: list[CapabilityIn] | None = Field(
        None,
        min_length=1,
        max_length=2_000,
        description="questions with a right answer, asked with every vector at its chosen dose and at half of it",
    )
    reference_protocol: bool = Field(
        False,
        description="also run the reference system's protocol (raw coefficients, ten questions, none held out)",
    )
    published: list[PublishedNumber] = Field(
        default_factory=list, max_length=500, description="published numbers to show beside this study's own"
    )
    resamples: int = Field(50, ge=0, le=1000)
    seed: int = Field(0, ge=0, lt=2**31)
