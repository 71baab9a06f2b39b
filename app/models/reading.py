"""What a result's texts were read as, against what its model reads them as now.

A result made before its model was proved, or read otherwise than the model is read now, is shown as such and never reused by itself.
"""

from app.models.models import Model

REFUSED = "proof_refused"
"""The fault of a model that a proof refused."""
DOUBT = (
    "why this must not be set beside new results: its model was refused later, or read otherwise than now; null when nothing is known"
    " against it"
)

READING = "what texts were read as: ids, prompts, ends of answers, masks; null when its model was not proved"


def reading_of(model: Model) -> str | None:
    """What the model's texts are read as, for specs and for choosing earlier results; None while that is not proved."""
    found: str | None = model.facts.get("reading_hash") if model.state == "ready" else None
    return found


def doubt(model: Model | None, reading_hash: str | None) -> str | None:
    """Why a result of the model is in doubt, as a sentence; None when it is not."""
    refused = refusal(model)
    if model is None or refused is not None:
        return refused
    now = model.facts.get("reading_hash")
    if reading_hash is None:
        return "It may be read otherwise than now: it was made before the model was proved. Make it anew to compare it with new results."
    if now is not None and now != reading_hash:
        return (
            f"It was read otherwise than now (reading {reading_hash[:12]} then, {now[:12]} now): the model's tokenizer, prompts, ends of "
            "answers or masks have been corrected or changed since. Make it anew to compare it with new results."
        )
    return None


def refusal(model: Model | None) -> str | None:
    """The sentence for whatever was made with a model that a proof refused afterwards."""
    fault = model.fault if model is not None and model.state == "faulty" else None
    return f"The model was refused later: {fault['detail']}" if fault and fault.get("code") == REFUSED else None
