"""The request schema of a calibration. The service checks limits that depend on the server or the model."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from app.jobs.labels import Label
from app.jobs.prompts import ShortPrompt
from app.jobs.schemas import PromptedRequest
from app.models.layers import Layers
from app.text import Line
from binnacle.words.massive import ALIAS, DEFAULT_RULE, PATTERN, RULES_IN_WORDS, stored_rule

Rule = Annotated[str, StringConstraints(pattern=PATTERN, max_length=20), AfterValidator(stored_rule)]
MAX_NEW_TOKENS = 128
"""Length of the answers unless a request says otherwise."""


class CalibrationRequest(PromptedRequest):
    """A request to find which residual dimensions of a model are massive, where, and their share of the norm."""

    model: Line = Field(min_length=1, max_length=200, description="name of a registered model", examples=["demo-severe"])
    experiment: Label = Field(
        "calibration", description="a label written into the file; also its folder in trait-interp's layout"
    )
    model_variant: Label | None = Field(
        None,
        description="a label and a folder below the experiment; `chat` or `base`, from the tokenizer, when left out",
        examples=["instruct"],
    )
    prompts: list[ShortPrompt] | None = Field(
        None, min_length=1, description="your own prompts instead of the 50 shipped neutral ones"
    )
    layers: Layers | None = Field(
        None, description="layers to capture: outputs of decoder blocks, counted from 0; all when left out"
    )
    max_new_tokens: int = Field(MAX_NEW_TOKENS, ge=1, description="length of the greedy answers, in tokens")
    rule: Rule = Field(
        DEFAULT_RULE,
        description=f"which dims the file lists for cleaning: {RULES_IN_WORDS}; {ALIAS} means {DEFAULT_RULE}",
        examples=[DEFAULT_RULE, "ratio:20"],
    )
