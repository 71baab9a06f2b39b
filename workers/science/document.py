"""Builds calibration.json (identity, provenance and aggregate) and serialises it.

It holds no time, host, path or job: the same spec gives the same bytes on the same device, with the same versions and
number of threads.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version

import torch

from binnacle.version import VERSION
from binnacle.words.massive import SCHEMA_VERSION
from terms.documents.calibration import Aggregate, CalibrationDocument, CalibrationProvenance
from terms.specs import Prompt
from workers.lm.choosing import NEAR_TIE
from workers.lm.model import LanguageModel
from workers.science.statistics import Statistics

STATISTICS_ROWS = 1  # prompts are read alone, even if they were generated in batches


def document(
    *,
    experiment: str,
    model: str,
    variant: str | None,
    lm: LanguageModel,
    provenance: CalibrationProvenance,
    aggregate: Aggregate,
) -> CalibrationDocument:
    """Returns the content of the whole file. `model` is the registered name; without a `variant` it is `chat` or `base`, by the tokenizer."""
    return {
        "schema_version": SCHEMA_VERSION,
        "experiment": experiment,
        "model": model,
        "model_variant": variant or ("chat" if lm.tokenizer.chat_template else "base"),
        "prompt_set": "calibration",
        "is_calibration": True,
        "provenance": provenance,
        "aggregate": aggregate,
    }


def provenance(
    lm: LanguageModel, *, revision: str | None, prompts: Sequence[str | Prompt], max_new_tokens: int, stats: Statistics
) -> CalibrationProvenance:
    """The sources of the numbers. `revision` is the pinned commit of a hub model, None for a local folder."""
    return {
        "model_source": "hub" if revision else "local",
        "model_revision": revision,
        "weight_hash": lm.facts.weight_hash,
        "tokenizer_hash": lm.facts.tokenizer_hash,
        **lm.facts.reading,
        "prompts_hash": prompts_hash(prompts),
        "prompts": len(prompts),
        "prompt_tokens": stats.prompt_tokens,
        "response_tokens": stats.response_tokens,
        "max_new_tokens": max_new_tokens,
        "special_tokens": lm.special_tokens,
        "decoding": {"greedy": True, "near_tie": NEAR_TIE},
        "layers": list(stats.layers),
        "model_layers": stats.model_layers,
        "hidden_size": lm.layout.hidden_size,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": lm.device.type,
        "versions": {"binnacle": VERSION, **{name: version(name) for name in ("torch", "transformers")}},
        "batch_plan": {"statistics_rows": STATISTICS_ROWS},
        "threads": torch.get_num_threads(),
    }


def prompts_hash(prompts: Sequence[str | Prompt]) -> str:
    """sha256 of the prompts in order, as the spec holds them, serialised as JSON without spaces in UTF-8."""
    return hashlib.sha256(json.dumps(list(prompts), ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def to_bytes(content: CalibrationDocument) -> bytes:
    """The only serialisation: keys in the given order, one space of indent, ASCII. Raises ValueError on NaN and infinities."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
