"""Identifies each model of a report: the hashes of the files that its calibration measured, and the proofs of the same files. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from terms.documents.calibration import CalibrationProvenance
from terms.documents.passport import PassportDocument, ProofDocument
from workers.reports.gathered import Gathered


@dataclass(frozen=True)
class Origin:
    """One model: its hashes as pairs of name and value, the outcome of its proofs in words, and each proof that applies."""

    model: str
    facts: Sequence[tuple[str, str]]
    outcome: str
    proofs: Sequence[ProofDocument]


NAMES = {
    "weight_hash": "weights, SHA-256",
    "reading_hash": "reading, SHA-256",
    "tokenizer_hash": "tokenizer, SHA-256",
    "model_revision": "commit",
    "dtype": "dtype",
    "device": "device",
}
OUTCOMES = {"passed": "Its proofs passed.", "limited": "Its proofs passed with limits.", "refused": "Its proofs refused it."}


def origins(data: Gathered) -> list[Origin]:
    """The origins of every model with a calibration."""
    return [_origin(model, provenance, data.passports.get(model)) for model, provenance in data.provenance.items()]


def _origin(model: str, provenance: CalibrationProvenance, passport: PassportDocument | None) -> Origin:
    known: Mapping[str, object] = provenance
    facts = [(words, str(known[key])) for key, words in NAMES.items() if known.get(key)]
    facts += [(name, str(version)) for name, version in (provenance.get("versions") or {}).items()]
    if passport is None:
        return Origin(model, facts, "It was not proved, or was changed or removed on this server.", [])
    read_then, read_now = (
        provenance.get("reading_hash"),
        passport["reading_hash"],
    )  # the latter is empty where the model cannot be run
    if not read_then:
        return Origin(model, facts, "It was not proved when it was measured.", [])
    if read_now not in ("", read_then):
        return Origin(
            model, facts, "The way its texts are read has changed since it was measured, so today's proofs do not apply.", []
        )
    return Origin(model, facts, OUTCOMES[passport["outcome"]], passport["proofs"])
