"""Identifies each model of a report: the hashes of the measured files, and the proofs of the same files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terms.documents.calibration import CalibrationProvenance
from terms.documents.passport import PassportDocument, ProofDocument
from workers.reports.gathered import Gathered


@dataclass(frozen=True)
class Origin:
    """One model: its hashes, the outcome of its proofs in words, and each proof."""

    model: str
    facts: Sequence[tuple[str, str]]
    outcome: str
    proofs: Sequence[ProofDocument]


NAMES = {
    "weight_hash": "weights, SHA-256",
    "reading_hash": "reading, SHA-256",
    "tokenizer_hash": "tokenizer, SHA-256",
    "model_revision": "commit",
    "dtype": "number type",
    "device": "device",
}
OUTCOMES = {"passed": "Its proofs passed.", "limited": "Its proofs passed with limits.", "refused": "Its proofs were refused."}


def origins(data: Gathered) -> list[Origin]:
    """The origins of every model with a calibration."""
    return [_origin(model, provenance, data.passports.get(model)) for model, provenance in data.provenance.items()]


def _origin(model: str, provenance: CalibrationProvenance, passport: PassportDocument | None) -> Origin:
    known: Mapping[str, object] = provenance
    facts = [(words, str(known[key])) for key, words in NAMES.items() if known.get(key)]
    facts += [(name, str(version)) for name, version in (provenance.get("versions") or {}).items()]
    if passport is None:
        return Origin(model, facts, "It was not proved, or was removed from this server.", [])
    if passport.get("reading_hash") != provenance.get("reading_hash"):
        return Origin(model, facts, "It has changed since it was measured; the proofs of today are of other files.", [])
    return Origin(model, facts, OUTCOMES.get(passport["outcome"], str(passport["outcome"])), passport["proofs"])
