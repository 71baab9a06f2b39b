"""Types of a model's stored inspection: `workers.lm.facts.ModelFacts` as JSON."""

from collections.abc import Mapping

from typing_extensions import TypedDict

from terms.room import Rooms
from terms.values import JsonObject


class StampDocument(TypedDict):
    """The state of a file when it was read."""

    name: str
    size: int
    mtime_ns: int
    inode: int


class ModelFactsDocument(TypedDict, total=False):
    """A model's facts; empty until it is inspected. Facts of older inspections may lack the keys below `files`. `ModelFacts` explains each
    key.
    """

    architecture: str
    layer_class: str
    layers: int
    hidden_size: int
    context_length: int
    vocab_size: int
    dtype: str
    n_parameters: int
    bytes: int
    has_chat_template: bool
    weight_hash: str
    tokenizer_hash: str
    files: list[StampDocument]
    widths: Mapping[str, int]
    config_hash: str
    reading_hash: str | None
    proofs_version: int | None
    structure: JsonObject | None
    dequantised_from: str | None
    room: Rooms | None
