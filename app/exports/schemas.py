"""The request schema of an export. The service checks it against the extraction."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from app.jobs.schemas import JobRequest
from app.models.layers import Layers
from app.text import Line
from terms.positions import as_stored

Label = Annotated[Line, StringConstraints(min_length=1, max_length=200)]
ExportFormat = Literal["trait-interp", "pt", "gguf", "npy"]


class ExportRequest(JobRequest):
    """An extraction, or a part of it, as files for another program. (The whole extraction as safetensors is a file of the extraction's job.)"""

    format: ExportFormat = Field(
        description=(
            "trait-interp: its folder of .pt files, as .tar.gz; pt: one state dict of all vectors by key; "
            "gguf: control vectors for llama.cpp and repeng; npy: one file for each vector"
        )
    )
    positions: list[Annotated[Label, AfterValidator(as_stored)]] | None = Field(
        None, min_length=1, description="all when left out", examples=[["response[:5]"]]
    )
    components: list[Label] | None = Field(None, min_length=1, description="all when left out")
    methods: list[Label] | None = Field(
        None, min_length=1, description="by key; all when left out", examples=[["probe", "mean_diff_top1"]]
    )
    layers: Layers | None = Field(None, description="all when left out")
