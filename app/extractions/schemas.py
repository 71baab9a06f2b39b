"""The request schema of an extraction. The service checks limits that depend on the server or the model."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

from app.http.renamed import RenamedRequest
from app.jobs.labels import Label
from app.jobs.schemas import PromptedRequest
from app.models.layers import Layers
from app.text import Line
from terms.values import JsonField

Name = Annotated[Line, StringConstraints(min_length=1, max_length=200)]


class VettingIn(BaseModel):
    """Keep only responses that express the trait (positives) or do not (negatives), by a judge."""

    model_config = ConfigDict(extra="forbid", strict=True)

    judge: Line = Field("reference", min_length=1, max_length=100)
    threshold: float = Field(50, ge=0, le=100, description="trait score from which a response expresses the trait")
    paired: bool = Field(False, description="drop the whole pair when one of the two fails")


class ExtractionRequest(PromptedRequest, RenamedRequest):
    """A request for vectors of a trait by any number of methods, layers, components and positions, from one pass over the examples."""

    model: Line = Field(min_length=1, max_length=200, description="name of a registered model", examples=["demo-severe"])
    trait: Line = Field(min_length=1, max_length=200, description="a trait's name, or name@version", examples=["refusal"])
    experiment: Label | None = Field(None, description="a label; also its folder in trait-interp's layout")
    model_variant: Label | None = Field(None, description="a label and a folder below the experiment", examples=["base"])
    methods: list[Name | JsonField] = Field(
        ["mean_diff", "mean_diff_rownorm", "probe"],
        min_length=1,
        max_length=200,
        description='names such as probe_cleaned, or {"method": "gradient", "steps": 500}',
    )
    positions: list[Name] = Field(
        default_factory=lambda: ["response[:5]"], min_length=1, max_length=20, description="frame[slice]"
    )
    components: list[Name] = Field(["residual"], min_length=1, max_length=7)
    layers: Layers | None = Field(None, description="decoder blocks, counted from 0; all when left out")
    calibration: Annotated[str, StringConstraints(pattern=r"^(cal|job)_[0-9a-z]{26}$")] | None = Field(
        None,
        description="the calibration that says which dims are massive; if a method needs one: the newest of the model, or a new one",
    )
    responses: Literal["generate", "given"] = Field(
        "generate", description="greedy answers of the model, or the dataset's own responses"
    )
    max_new_tokens: int | None = Field(None, ge=1, description="from the positions when left out; at least what they need")
    controls: int = Field(
        3,
        ge=0,
        le=20,
        validation_alias=AliasChoices("control_vectors", "controls"),
        description="random vectors, and shuffled-label vectors of each method, to compare with",
    )
    refits: int = Field(0, ge=0, le=50, description="also fit each method on this many cluster resamples of the examples")
    validation_share: float = Field(0.2, ge=0, le=0.5, description="share of the clusters that is held out to measure separation")
    resamples: int = Field(50, ge=0, le=1000, description="cluster resamples for the range of each vector's cosine")
    keep_rows: bool = Field(
        True, description="keep the captured rows, so that reuse=true can fit other methods without the model"
    )
    vetting: VettingIn | None = None
    seed: int = Field(0, ge=0, lt=2**31)
