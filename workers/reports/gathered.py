"""Reads the results of a study's jobs: calibrations by model, extraction and steering by model and trait, and what is missing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors

from workers.job import JobContext
from workers.judges.agreement import Agreement

Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One model and trait. `steering` is summary.json, `extraction` extraction.json; None where the job did not succeed."""

    model: str
    trait: str
    extraction: Mapping[str, Any] | None
    vectors: Vectors
    steering: Mapping[str, Any] | None
    links: Mapping[str, str]

    @property
    def runs(self) -> str:
        """Where every run of the steering is listed."""
        return f"{self.links['steering']}/runs"

    def texts(self, effect: Mapping[str, Any]) -> str | None:
        """Where the answers of an effect's run are, each with its scores."""
        return f"{self.links['steering']}/responses?run={effect['run']}" if effect.get("run") else None


@dataclass(frozen=True, eq=False)
class Gathered:
    """`calibrations[model]` is the aggregate of calibration.json, `provenance[model]` where its numbers come from, `sources[model]` its
    address. `missing` names every node without a result, with its reason; `unmeasured` every model without a calibration. `agreement` is
    the judge's with a person's labels, None where none were given. `passports[model]` holds the proofs of the model as it is now.
    """

    calibrations: Mapping[str, Mapping[str, Any]]
    cells: list[Cell]
    missing: list[dict[str, Any]]
    sources: Mapping[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    passports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def gather(context: JobContext, nodes: Mapping[str, Mapping[str, Any]], models: Sequence[str]) -> Gathered:
    """Reads every node's files; a job that failed, was cancelled or never ran is named instead. `models` are those that the study names."""
    found: dict[str, dict[str, Any]] = {}
    missing: list[dict[str, Any]] = []
    nodes = dict(sorted(nodes.items(), key=lambda item: int(item[1]["place"])))  # the database keeps no order of keys
    for done, (name, node) in enumerate(nodes.items()):
        job = context.result(node["job"])
        if job["state"] == "succeeded":
            found[name] = _files(context, node)
        else:
            missing.append({"node": name, "kind": node["kind"], "state": job["state"], "reason": _reason(job["error"])})
        context.progress(done + 1)
    documents = {
        node["model"]: found[name]["calibration"] for name, node in nodes.items() if node["kind"] == "calibrate" and name in found
    }
    why = {one["node"]: f"{one['state']} {one['reason']}".strip() for one in missing}
    pairs = dict.fromkeys((node["model"], node["trait"]) for node in nodes.values() if node["trait"] is not None)
    sources = {node["model"]: f"/v1/calibrations/{node['job']}" for node in nodes.values() if node["kind"] == "calibrate"}
    return Gathered(
        {model: document["aggregate"] for model, document in documents.items()},
        [_cell(model, trait, nodes, found) for model, trait in pairs],
        missing,
        sources,
        provenance={model: document.get("provenance", {}) for model, document in documents.items()},
        unmeasured={
            model: why.get(f"calibrate/{model}", "not registered on this server") for model in models if model not in documents
        },
        passports={model: passport for model in documents if (passport := context.model_passport(model)) is not None},
    )


def _files(context: JobContext, node: Mapping[str, Any]) -> dict[str, Any]:
    job, kind = node["job"], node["kind"]
    if kind == "calibrate":
        return {"calibration": json.loads(context.artifact(job, "calibration.json"))}
    if kind == "extract":
        document = json.loads(context.artifact(job, "extraction.json"))
        return {"extraction": document, "vectors": load_safetensors(context.artifact(job, "vectors.safetensors"))}
    return {"steering": json.loads(context.artifact(job, "summary.json"))}


def _cell(model: str, trait: str, nodes: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> Cell:
    extract, steer = f"extract/{model}/{trait}", f"steer/{model}/{trait}"
    return Cell(
        model,
        trait,
        found.get(extract, {}).get("extraction"),
        found.get(extract, {}).get("vectors", {}),
        found.get(steer, {}).get("steering"),
        {
            kind: f"/v1/{kind}s/{nodes[name]['job']}"
            for kind, name in (("extraction", extract), ("steering", steer))
            if name in nodes
        },
    )


def _reason(error: Mapping[str, Any] | None) -> str:
    return "" if not error else f"{error.get('code', '')}: {error.get('detail', '')}".strip(": ")
