"""Types of a generation's stored result: its answers."""

from typing import NotRequired

from typing_extensions import TypedDict

from terms.documents.provenance import Reading


class Answered(TypedDict):
    """An answer. `vector` is the id of the vector, None if the model was not steered; `source_model` is the model on which the vector was made,
    if another one. The coefficient `c` is None without a push or for `ablate`; the doses `r` and `r_raw` also without a calibration, `r`
    also for a vector without a clean dose, and `r_raw` also for `norm_match`.

    `ended`: the model ended the answer before the limit of tokens. `finite`: the logits did not overflow. `fires`: the pairs of site and
    position at which the push was applied; `mean_change`: the mean norm of the change at these pairs, from the prompt's last position on.
    """

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
