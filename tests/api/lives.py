"""Lets a test claim and end jobs by the functions that a worker uses, without a worker."""

import hashlib
import json
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from app.devices.models import Worker
from app.errors import as_error
from app.jobs import claims, endings
from app.jobs.claims import Claimer, Lease
from app.jobs.kinds import handler_versions
from app.storage.base import Storage
from app.storage.blobs import stage
from tests.api.conftest import FACTS

SUMMARY = {
    "schema_version": 2,
    "severity": {"verdict": "severe", "dominant_dim": 21},
    "massive_dims": {"rule": "peeling", "dims": [21]},
    "weight_hash": "a" * 64,
    "reading_hash": FACTS["reading_hash"],
    "n_prompts": 50,
    "layers": [0, 1, 2],
}
RATIOS = {"ratio_to_median": 412.0, "ratio_to_mean": 390.5, "max_to_median": 120.0, "max_to_entry_median": 700.0}


def calibration_file(experiment: str = "calibration", variant: str = "chat", dim: int = 21) -> bytes:
    """A calibration.json of one layer with one massive dim."""
    severity = {
        "verdict": "severe",
        "scope": "every_token",
        "dominant_dim": dim,
        "share_of_squared_norm": 0.91,
        "mean_alignment": 0.9,
    }
    aggregate = {
        "n_prompts": 50,
        "top_dims_by_layer": {"0": [dim, 3]},
        "per_layer": {"0": {str(dim): {"ratio": 412.0}, "3": {"ratio": 1.5}}},
        "layer_norms": {"0": 1000.0},
        "clean_norms": {"0": 300.0},
        "massive_dims": {"rule": "massive", "dims": [dim]},
        "severity": {**severity, "ratios": RATIOS},
    }
    document = {"experiment": experiment, "model": "demo", "model_variant": variant, "aggregate": aggregate}
    return json.dumps(document).encode() + b"\n"


FILE = calibration_file()


def claim(sessions: sessionmaker[Session], job_class: str = "model") -> Lease:
    """Claims the next job of the class for the worker `test-CLASS`."""
    with sessions.begin() as session:
        worker = f"test-{job_class}"
        session.merge(Worker(id=worker, job_class=job_class, device="cpu", host="here", parent_pid=1, version="test"))
        session.flush()
        claimer = Claimer(worker_id=worker, job_class=job_class, child_pid=1, versions=handler_versions())
        lease = claims.claim(session, claimer, ttl=60, slice_seconds=300)
    assert lease is not None
    return lease


def succeed(
    sessions: sessionmaker[Session], storage: Storage, lease: Lease, outcome: dict[str, Any] | None = None, data: bytes = FILE
) -> None:
    """The job's result and its file, committed as a worker commits them."""
    blob = stage(sessions, storage, data)
    with sessions.begin() as session:
        endings.succeed(
            session,
            lease.job.id,
            lease.token,
            outcome or {"calibration": SUMMARY},
            [("calibration.json", "application/json", blob)],
            metrics={"device_seconds": 2.0},
        )


def fail(sessions: sessionmaker[Session], lease: Lease, code: str = "broken") -> None:
    """The job fails for good."""
    with sessions.begin() as session:
        endings.fail(session, lease.job.id, lease.token, {"code": code, "detail": "It broke. Mend it."})


def passport(outcome: str = "passed", reading_hash: str = FACTS["reading_hash"], **content: Any) -> dict[str, Any]:
    """The result of a prove job of a model with FACTS: one proof with this outcome."""
    proof = {"name": "paths agree", "outcome": outcome, "figure": 1e-7, "unit": "relative", "sentence": f"It {outcome}. Do this."}
    found = {"version": 1, "outcome": outcome, "reading_hash": reading_hash, "proofs": [proof]}
    programs = {"proofs": 1, "torch": "2.13.0"}
    hashes = {name: FACTS[name] for name in ("weight_hash", "tokenizer_hash", "config_hash")}
    about = {**hashes, "dtype": "float32", "device": "cpu", "programs": programs, **content}
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return {"key": key, "content": about, "passport": found, "stored": False}


def inspect(sessions: sessionmaker[Session], facts: dict[str, Any]) -> None:
    """Ends the next inspection with these facts, less those that only a prove job finds."""
    lease = claim(sessions, "light")
    found = {name: value for name, value in facts.items() if name not in ("reading_hash", "proofs_version")}
    with sessions.begin() as session:
        endings.succeed(session, lease.job.id, lease.token, {"facts": found}, [], metrics={})


def prove(sessions: sessionmaker[Session], lease: Lease | None = None, outcome: str = "passed", **found: Any) -> Lease:
    """Ends the next prove job with this outcome, as its handler and worker do."""
    lease = lease or claim(sessions)
    assert lease.job.kind == "prove"
    result = passport(outcome, **found)
    with sessions.begin() as session:
        if outcome == "refused":
            error = as_error("proof_refused", "paths agree: It refused. Do this.", **result)
            endings.fail(session, lease.job.id, lease.token, error, metrics={"device_seconds": 3.0})
        else:
            endings.succeed(session, lease.job.id, lease.token, result, [], metrics={"device_seconds": 3.0})
    return lease
