"""Compares how a result's texts were read with how its model reads texts now.

A result made before its model was proved, or with texts read in a different way, is marked as such and never reused automatically.
"""

from app.models.models import Model

REFUSED = "proof_refused"
"""The fault code of a model that its proofs refused."""
DOUBT = (
    "why the result is not comparable with new ones: its model was refused later, or its texts were read differently; "
    "null if nothing speaks against it"
)

READING = "hash of how texts were read: ids, prompts, ends of answers, masks; null if the model was not proved"


def reading_of(model: Model) -> str | None:
    """Returns the model's `reading_hash`, for specs and for choosing earlier results; None while the model is not proved."""
    reading_hash: str | None = model.facts.get("reading_hash") if model.state == "ready" else None
    return reading_hash


def doubt(model: Model | None, reading_hash: str | None) -> str | None:
    """Returns why a result of the model is in doubt, as a sentence; None when it is not."""
    refused = refusal(model)
    if model is None or refused is not None:
        return refused
    now = model.facts.get("reading_hash")
    if reading_hash is None:
        return (
            "The model's texts may have been read differently: this was made before the model was proved. Make it "
            "again to compare it with new results."
        )
    if now is not None and now != reading_hash:
        return (
            f"The model's texts were read differently (reading {reading_hash[:12]} then, {now[:12]} now): its "
            "tokenizer, prompts, ends of answers or masks have changed since. Make this again to compare it with new results."
        )
    return None


def refusal(model: Model | None) -> str | None:
    """Returns the warning for results of a model that its proofs later refused; otherwise None."""
    fault = model.fault if model is not None and model.state == "faulty" else None
    return f"The model was refused later: {fault['detail']}" if fault and fault.get("code") == REFUSED else None
