"""Builds extraction.json: all facts stored with the vectors, and the sources of the numbers. No time, host, path or job."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

import torch

from terms.documents.extraction import ExtractionDocument, ExtractionProvenance, VectorFacts
from workers.extracting.examples import Prompted
from workers.extracting.fits import Fitted
from workers.extracting.gathered import Gathered

SCHEMA_VERSION = 1


def describe(vector: Fitted, rule: str | None) -> VectorFacts:
    """One vector's facts with its key and the rule behind its massive dims."""
    facts = vector.direction.to_dict()
    if facts["massive"] is not None:
        facts["massive"] = {"rule": rule, **facts["massive"]}
    return {"key": vector.key, "position": vector.position, "component": vector.component, "layer": vector.layer, **facts}


def document(gathered: Gathered, fitted: Sequence[Fitted]) -> ExtractionDocument:
    """The content of the whole file."""
    spec, examples, rows = gathered.spec, gathered.examples, gathered.rows
    counted = Counter(f"{example.label} {'train' if example.train else 'validation'}" for example in examples if example.kept)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": spec["model"],
        "trait": spec["trait"],
        "positions": spec["positions"],
        "components": spec["components"],
        "layers": list(gathered.layers),
        "methods": spec["methods"],
        "controls": spec["controls"],
        "refits": spec["refits"],
        "refits_left_out": _without_a_fit(gathered, fitted),
        "counts": {
            "examples": len(examples),
            "dropped_by_vetting": sum(not example.kept for example in examples),
            **dict(sorted(counted.items())),
            "empty_windows": {
                position: _labels(examples, set(range(len(examples))) - set(kept)) for position, kept in rows.kept.items()
            },
        },
        "split": {"seed": spec["seed"], "validation_share": spec["validation_share"], "validation_clusters": _held_out(examples)},
        "provenance": _provenance(gathered),
        "vectors": [describe(vector, gathered.rule) for vector in fitted],
    }


def _without_a_fit(gathered: Gathered, fitted: Sequence[Fitted]) -> list[str]:
    """The keys of the requested refits that have no vector."""
    made = {vector.key for vector in fitted}
    keys = (
        f"{position}/{component}/{refit}/{layer}"
        for position, component, layer in gathered.sites
        for refit in gathered.spec["refits"]
    )
    return [key for key in keys if key not in made]


def _labels(examples: Sequence[Prompted], indices: set[int]) -> dict[str, list[int]]:
    return {
        label: [examples[i].index for i in sorted(indices) if examples[i].label == label] for label in ("positive", "negative")
    }


def _held_out(examples: Sequence[Prompted]) -> list[str]:
    return sorted({example.cluster for example in examples if not example.train})


def _provenance(gathered: Gathered) -> ExtractionProvenance:
    lm, spec, examples, calibration = gathered.lm, gathered.spec, gathered.examples, gathered.calibration
    responses = json.dumps([list(example.response_ids) for example in examples], separators=(",", ":"))
    return {
        "weight_hash": lm.facts.weight_hash,
        "tokenizer_hash": lm.facts.tokenizer_hash,
        **lm.facts.reading,
        "trait_version": spec["trait"]["version"],
        "responses": spec["responses"],
        "responses_hash": hashlib.sha256(responses.encode()).hexdigest(),
        "max_new_tokens": spec["max_new_tokens"],
        "special_tokens": lm.special_tokens,
        "calibration": None
        if calibration is None
        else {"weight_hash": calibration.weight_hash, "rule": calibration.rule, "dims": calibration.massive},
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": lm.device.type,
        "batch_plan": gathered.batch_plan,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "scikit-learn", "numpy")},
    }
