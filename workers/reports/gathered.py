"""Reads the results of a study's jobs: calibrations by model, extraction and steering by model and trait, and the list of missing results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_safetensors

from binnacle.words.judging import cannot_tell
from terms.documents.calibration import Aggregate, CalibrationDocument, CalibrationProvenance
from terms.documents.extraction import ExtractionDocument
from terms.documents.jobs import ErrorFacts
from terms.documents.passport import PassportDocument
from terms.documents.reading import read_calibration, read_extraction, read_summary
from terms.documents.steering import Decomposition, Scores, Summary
from terms.documents.study import Missing
from terms.specs import Node
from workers.job import JobContext
from workers.judges.agreement import Agreement
from workers.science.verdicts import AGREEMENT

UNCLEAR = "unclear"
"""The verdict on a massive part where the evidence decides nothing."""
Vectors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Cell:
    """One model and trait. `steering` is summary.json, `extraction` extraction.json; None where the job did not succeed."""

    model: str
    trait: str
    extraction: ExtractionDocument | None
    vectors: Vectors
    steering: Summary | None
    links: Mapping[str, str]

    @property
    def runs(self) -> str:
        """The address of the list of the steering's runs."""
        return f"{self.links['steering']}/runs"

    def texts(self, effect: Scores) -> str | None:
        """The address of the answers of an effect's run, each with its scores."""
        return f"{self.links['steering']}/responses?run={effect['run']}" if effect.get("run") else None


@dataclass(frozen=True, eq=False)
class Gathered:
    """The results of a study. `calibrations[model]` is the aggregate of calibration.json, `provenance[model]` the sources of its numbers,
    `sources[model]` its address. `missing` names every node without a result, with the reason; `unmeasured` every model without a calibration.
    `agreement` is the judge's with a person's labels, None without labels. `passports[model]` holds the current proofs of the model, where it
    still has the weights that its calibration measured."""

    calibrations: Mapping[str, Aggregate]
    cells: list[Cell]
    missing: list[Missing]
    sources: Mapping[str, str] = field(default_factory=dict)
    agreement: Agreement | None = None
    provenance: Mapping[str, CalibrationProvenance] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    passports: Mapping[str, PassportDocument] = field(default_factory=dict)

    @property
    def rank(self) -> float | None:
        """The judge's rank correlation with a person's labels; None without labels, or with too few to decide about verdicts."""
        return self.agreement.rank if self.agreement is not None and self.agreement.decides else None

    @property
    def disputed(self) -> bool:
        """Whether a person's labels disagree with the judge, so that nothing follows from its scores."""
        return self.rank is not None and self.rank < AGREEMENT

    def decides(self, summary: Summary) -> bool:
        """Whether verdicts may rest on the scores of a steering: its judge tells the classes apart, and no labels disagree with it."""
        return not self.disputed and cannot_tell(summary.get("judge_facts") or {}) is None

    def massive_part(self, parts: Decomposition, summary: Summary) -> str:
        """The verdict on the massive part of a method's vector."""
        return parts["massive_part"] if self.decides(summary) else UNCLEAR


@dataclass
class _Results:
    """The results of the jobs that succeeded, by the name of the node."""

    calibrations: dict[str, CalibrationDocument] = field(default_factory=dict)
    extractions: dict[str, ExtractionDocument] = field(default_factory=dict)
    vectors: dict[str, Vectors] = field(default_factory=dict)
    steerings: dict[str, Summary] = field(default_factory=dict)

    def read(self, context: JobContext, name: str, node: Node) -> None:
        """Reads the files of one node."""
        job, kind = node["job"], node["kind"]
        if kind == "calibrate":
            self.calibrations[name] = read_calibration(context.artifact(job, "calibration.json"))
        elif kind == "extract":
            self.extractions[name] = read_extraction(context.artifact(job, "extraction.json"))
            self.vectors[name] = load_safetensors(context.artifact(job, "vectors.safetensors"))
        else:
            self.steerings[name] = read_summary(context.artifact(job, "summary.json"))

    def cell(self, model: str, trait: str, nodes: Mapping[str, Node]) -> Cell:
        """The results for one model and trait."""
        extract, steer = f"extract/{model}/{trait}", f"steer/{model}/{trait}"
        named = (("extraction", extract), ("steering", steer))
        links = {kind: f"/v1/{kind}s/{nodes[name]['job']}" for kind, name in named if name in nodes}
        return Cell(model, trait, self.extractions.get(extract), self.vectors.get(extract, {}), self.steerings.get(steer), links)


def gather(context: JobContext, nodes: Mapping[str, Node], models: Sequence[str]) -> Gathered:
    """Reads every node's files and lists the jobs that failed, were cancelled or never ran. `models` are the models that the study names."""
    results = _Results()
    missing: list[Missing] = []
    nodes = dict(sorted(nodes.items(), key=lambda item: int(item[1]["place"])))  # the database does not keep the order of keys
    for done, (name, node) in enumerate(nodes.items()):
        job = context.result(node["job"])
        if job["state"] == "succeeded":
            results.read(context, name, node)
        else:
            missing.append({"node": name, "kind": node["kind"], "state": job["state"], "reason": _reason(job["error"])})
        context.progress(done + 1)
    measured = [(str(node["model"]), name, node) for name, node in nodes.items() if node["kind"] == "calibrate"]
    documents = {model: results.calibrations[name] for model, name, _ in measured if name in results.calibrations}
    why = {missing_job["node"]: f"{missing_job['state']} {missing_job['reason']}".strip() for missing_job in missing}
    pairs = dict.fromkeys((str(node["model"]), node["trait"]) for node in nodes.values() if node["trait"] is not None)
    return Gathered(
        {model: document["aggregate"] for model, document in documents.items()},
        [results.cell(model, trait, nodes) for model, trait in pairs if trait is not None],
        missing,
        {model: f"/v1/calibrations/{node['job']}" for model, _, node in measured},
        provenance={model: document.get("provenance", {}) for model, document in documents.items()},
        unmeasured={
            model: why.get(f"calibrate/{model}", "not registered on this server") for model in models if model not in documents
        },
        passports={
            model: passport
            for model, document in documents.items()
            if (passport := context.model_passport(model, document.get("provenance", {}).get("weight_hash", ""))) is not None
        },
    )


def _reason(error: ErrorFacts | None) -> str:
    return "" if not error else f"{error.get('code', '')}: {error.get('detail', '')}".strip(": ")
