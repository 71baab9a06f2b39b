"""The content that a passport describes: files, dtype, kind of device, and library versions. Imports no torch.

Equal content gives an equal passport, so each passport is made once.
"""

import hashlib
import json
from importlib.metadata import version

from terms.documents.passport import ProvedContent
from workers.lm.facts import ModelFacts
from workers.lm.proofs.outcome import VERSION

LIBRARIES = ("torch", "transformers", "tokenizers")


def programs() -> dict[str, int | str]:
    """Versions of the proofs and of the libraries that read and run models."""
    return {"proofs": VERSION, **{name: version(name) for name in LIBRARIES}}


def content_of(facts: ModelFacts, *, config_hash: str, dtype: str, device: str) -> ProvedContent:
    """The content that a passport of these files describes. `device` is a kind ("cpu", "cuda"); `config_hash` is of the current files."""
    return {
        "weight_hash": facts.weight_hash,
        "tokenizer_hash": facts.tokenizer_hash,
        "config_hash": config_hash,
        "dtype": dtype,
        "device": device,
        "programs": programs(),
    }


def key_of(content: ProvedContent) -> str:
    """sha256 of the content: the name under which its passport is kept."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
