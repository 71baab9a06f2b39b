"""Layers of a request: any order, repeats allowed. Specs hold each layer once, sorted, so that equal requests are equal calculations."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from app.errors import invalid
from terms.documents.model import ModelFactsDocument

Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000)]
"""0-based indices of decoder blocks' outputs. Models have fewer than a thousand; a longer list only repeats layers and wastes time."""


def in_order(asked: Sequence[int] | None) -> list[int] | None:
    """Returns the layers as specs hold them; None if the request names none."""
    return None if asked is None else sorted(set(asked))


def layers_of(asked: Sequence[int] | None, model: str, facts: ModelFactsDocument) -> list[int] | None:
    """Returns the layers as specs hold them, None for all layers of the model. Raises Problem 422 like `check_layers`."""
    check_layers(asked, model, facts)
    layers = in_order(asked)
    return None if layers == list(range(facts.get("layers", -1))) else layers


def check_layers(asked: Sequence[int] | None, model: str, facts: ModelFactsDocument) -> None:
    """Raises Problem 422 `layer_out_of_range` for a layer that the model lacks, if its facts are known."""
    for i, layer in enumerate(asked or ()):
        check_layer(layer, f"/layers/{i}", model, facts)


def check_layer(layer: int, pointer: str, model: str, facts: ModelFactsDocument, of: str = "") -> None:
    """Checks one layer at this pointer; `of` names the object the layer belongs to, if the field itself does not contain it."""
    count = facts.get("layers")
    if count is not None and layer >= count:
        detail = f"{f'The layer of {of} is' if of else f'{pointer} names layer'} {layer}; {model} has {count} layers, 0 to {count - 1}."
        raise invalid(pointer, "layer_out_of_range", detail)
