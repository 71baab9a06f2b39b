"""`ModelFacts`: what a model folder holds, as plain values that can be stored and compared. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from terms.documents.model import StructureDocument
from terms.documents.provenance import Reading
from terms.room import Rooms
from terms.values import JsonObject


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when read. A file written or replaced since has another size, time or inode, unless its old time is set again."""

    name: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class ModelFacts:
    """What inspection found in a model folder; made by `inspection.inspect_folder`.

    `weight_hash` is the sha256 over the weight files' contents in name order, `tokenizer_hash` over the tokenizer's files, each with its name,
    `config_hash` over the config files (empty in facts of older inspections). `bytes` is the size of the weight files, `dtype` the type in which
    most elements are stored. `context_length` is the number of tokens up to which positions mean the same in every batch: for models that switch
    their rotary factors past a length, that length. `widths` maps each component of the architecture to the size of its vectors. `reading_hash`
    and `proofs_version` come with a passport (`proofs`): a hash of how texts become ids, None until the proofs have run. `structure` is how the
    model's blocks add up (`structure.values`); None in facts of older inspections. `dequantised_from` names the quantisation method of the
    files' weights. `room` maps each dtype to the memory that generation needs besides the weights (`terms.room.Room`); None in facts of older
    inspections, and for models where it cannot be computed.
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
    files: tuple[FileStamp, ...]
    widths: Mapping[str, int] = field(default_factory=dict)
    config_hash: str = ""
    reading_hash: str | None = None
    proofs_version: int | None = None
    structure: StructureDocument | None = None
    dequantised_from: str | None = None
    room: Rooms | None = None

    @property
    def reading(self) -> Reading:
        """How texts become ids, in the form that every result's provenance records."""
        reading: Reading = {"reading_hash": self.reading_hash, "proofs_version": self.proofs_version}
        if self.dequantised_from:
            reading["dequantised_from"] = self.dequantised_from
        return reading

    def bytes_in(self, dtype: str) -> int:
        """Bytes of the weights when they are loaded as "float32", "bfloat16" or "float16"."""
        return self.n_parameters * (4 if dtype == "float32" else 2)

    def to_dict(self) -> JsonObject:
        """The facts as plain JSON values; `facts_from_dict` is the inverse."""
        return asdict(self)


def facts_from_dict(stored: Mapping[str, Any]) -> ModelFacts:
    """Returns the facts stored by `ModelFacts.to_dict`; entries that a newer version added are ignored."""
    known = {item.name: stored[item.name] for item in fields(ModelFacts) if item.name in stored}
    return ModelFacts(**{**known, "files": tuple(FileStamp(**stamp) for stamp in stored["files"])})
