"""Types of a generation's stored result: its answers."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.provenance import Reading


class Answered(TypedDict):
    """An answer; `vector` is None if the model was not steered, and doses are None without a calibration."""

    vector: str | None
    source_model: NotRequired[str | None]
    prompt: str
    system_prompt: str | None
    r: float | None
    r_raw: float | None
    c: float | None
    text: str
    ended: bool
    finite: bool
    fires: int
    mean_change: float


class GenerationResult(Reading):
    """A generation job's stored result."""

    answers: list[Answered]
    weight_hash: str
