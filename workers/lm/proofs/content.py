"""The content that a passport describes: files, dtype, kind of device, and library versions. Imports no torch.

Equal content means an equal passport, so that it is made once.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from workers.lm.facts import ModelFacts
from workers.lm.proofs.outcome import VERSION

LIBRARIES = ("torch", "transformers", "tokenizers")


def programs() -> dict[str, Any]:
    """The versions of the proofs and of the libraries that read and run models here."""
    return {"proofs": VERSION, **{name: version(name) for name in LIBRARIES}}


def content_of(facts: ModelFacts, *, config_hash: str, dtype: str, device: str) -> dict[str, Any]:
    """What a passport of these files says something about. `device` is its kind ("cpu", "cuda"); `config_hash` is the files' present one."""
    return {
        "weight_hash": facts.weight_hash,
        "tokenizer_hash": facts.tokenizer_hash,
        "config_hash": config_hash,
        "dtype": dtype,
        "device": device,
        "programs": programs(),
    }


def key_of(content: Mapping[str, Any]) -> str:
    """sha256 of the content: the name under which its passport is kept."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
