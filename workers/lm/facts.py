"""`ModelFacts`: what a model folder holds, as plain values that can be stored and compared. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from terms.documents.provenance import Reading
from terms.room import Rooms
from terms.values import JsonObject


@dataclass(frozen=True)
class FileStamp:
    """A file as it was when it was read. Any change of content changes the size, the time or the inode."""

    name: str
    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class ModelFacts:
    """Found by `inspection.inspect_folder`.

    `weight_hash` is the sha256 over the weight files' contents in name order, `tokenizer_hash` over the tokenizer's files, each with its
    name, `config_hash` over the config files (empty in facts of older inspections). `bytes` is the size of the weight files, `dtype` the
    type most of them are stored in. `context_length` is the number of tokens up to which positions mean the same in every batch: for
    models that switch their rotary factors past a length, that length. `widths` are the components that the architecture has, each with
    the size of its vectors. `reading_hash` and `proofs_version` come with a passport (`proofs`): what texts are read as, None while that is
    not proved. `structure` is how its blocks add up (`structure.values`); None in facts of older inspections.
    `dequantised_from` names the method that the files' weights are quantised with. `room` is by dtype what generating needs beside the
    weights (`terms.room.Room`); None in facts of older inspections, and of models that cannot be counted.
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
    structure: JsonObject | None = None
    dequantised_from: str | None = None
    room: Rooms | None = None

    @property
    def reading(self) -> Reading:
        """How texts are read, as every result's provenance says it."""
        found: Reading = {"reading_hash": self.reading_hash, "proofs_version": self.proofs_version}
        if self.dequantised_from:
            found["dequantised_from"] = self.dequantised_from
        return found

    def bytes_in(self, dtype: str) -> int:
        """Bytes of the weights when they are loaded as "float32", "bfloat16" or "float16"."""
        return self.n_parameters * (4 if dtype == "float32" else 2)

    def to_dict(self) -> JsonObject:
        """Plain JSON values; `facts_from_dict` is the inverse."""
        return asdict(self)


def facts_from_dict(stored: JsonObject) -> ModelFacts:
    """The facts stored by `ModelFacts.to_dict`, also by a newer version that stores more."""
    known = {item.name: stored[item.name] for item in fields(ModelFacts) if item.name in stored}
    return ModelFacts(**{**known, "files": tuple(FileStamp(**stamp) for stamp in stored["files"])})
