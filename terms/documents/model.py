"""Types of a model's stored inspection: `workers.lm.facts.ModelFacts` as JSON."""

from collections.abc import Mapping
from typing import NotRequired

from typing_extensions import TypedDict

from terms.room import Engine, Rooms


class StampDocument(TypedDict):
    """The state of a file when it was read."""

    name: str
    size: int
    mtime_ns: int
    inode: int


class AddendDocument(TypedDict):
    """`workers.lm.structure.values.Addend` as JSON: one module of a block and the factors of its output."""

    path: str
    mixes: bool
    scale: list[str | float]
    raw: str | None
    flat: list[str]


class BlockDocument(TypedDict):
    """`workers.lm.structure.values.BlockStructure` as JSON: the addends of a block and the modules that make its keys and values."""

    addends: list[AddendDocument]
    kept: list[str | float]
    keys: str | None
    values: str | None
    residue: float


class StructureDocument(TypedDict):
    """`workers.lm.structure.values.Structure` as JSON."""

    blocks: dict[str, BlockDocument]
    final_norm: str | None
    engine: Engine
    slots_residue: float | str
    library_residue: float | str | None
    grows: NotRequired[bool]


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
    structure: StructureDocument | None
    dequantised_from: str | None
    room: Rooms | None


class InspectedOutcome(TypedDict):
    """What an inspect job gives."""

    facts: ModelFactsDocument


class SourcedFacts(ModelFactsDocument):
    """A model's facts with where its files come from: a folder or a hub's name, and the commit of a hub model."""

    source: str
    revision: str | None
