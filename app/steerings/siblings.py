"""Allows vectors of a sibling model: one with the same layers and widths, such as the base of an instruction-tuned model.

The dose is measured by the steered model's norms and massive dims; a cleaned vector keeps the zeros of the model that it was made on.
"""

from sqlalchemy.orm import Session

from app.errors import invalid
from app.models.models import Model
from terms.specs import SourceModel


def source(session: Session, name: str, model: Model, pointer: str, *, sibling: bool) -> Model:
    """Returns the model with this name, on which vectors for `model` were made. Raises Problem 422 unless it is `model` or an allowed
    sibling.
    """
    if name == model.name:
        return model
    if not sibling:
        detail = f"{pointer} belongs to {name}, not to {model.name}. Where one was tuned from the other, set /sibling to steer with it."
        raise invalid(pointer, "vector_of_another_model", detail)
    other = session.get_one(Model, name)
    for either in (other, model):
        if not either.inspected:
            raise invalid(
                pointer,
                "model_not_inspected",
                f"{either.name} is not inspected yet, so its layers and widths are not known. Try again once it is.",
            )
    for what in ("layers", "widths"):
        theirs, ours = other.facts[what], model.facts[what]
        if theirs != ours:
            detail = f"{pointer} belongs to {name}, which is not a sibling of {model.name}: its {what} are {theirs}, here {ours}."
            raise invalid(pointer, "not_a_sibling", detail)
    return other


def facts(name: str, weight_hash: str | None) -> SourceModel:
    """Returns what a spec and a result record about vectors of another model."""
    return {"source_model": name, "source_weight_hash": weight_hash}
