"""What a model's row keeps of its inspection: `workers.lm.facts.ModelFacts` as JSON."""

from collections.abc import Mapping

from typing_extensions import TypedDict

from terms.room import Rooms
from terms.values import JsonObject


class StampDocument(TypedDict):
    """A file as it was when it was read."""

    name: str
    size: int
    mtime_ns: int
    inode: int


class ModelFactsDocument(TypedDict, total=False):
    """Empty until the model is inspected; of older inspections, what stands below `files` may be missing. `ModelFacts` says what each is."""

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
