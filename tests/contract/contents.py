"""Fills the API with a model, the shipped traits, and a finished study with its calibration, extraction, steering and report.

The jobs are submitted over HTTP and finished by the functions that workers use, with small results of the right shape, so that every
route for results has something to return.
"""

import json
from typing import Any

import httpx2
import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.devices.models import Worker
from app.formats.tensorfile import to_bytes
from app.jobs import claims, endings
from app.jobs.claims import Claimer, Lease
from app.jobs.kinds import handler_versions
from app.models.models import Model
from app.storage.base import Storage
from app.storage.blobs import stage
from app.storage.factory import open_storage
from tests.api.conftest import FACTS
from tests.api.lives import SUMMARY
from tests.api.process import ApiProcess
from tests.contract.running import OWNER

# what an extraction stores about massive dimensions with each vector
MASSIVE = {"rule": "peeling", "dims": [21], "share": 0.4}
MODEL = "demo-severe"
KEPT = ("alembic_version", "api_keys", "users")
STUDY = {
    "models": [MODEL], "traits": ["refusal"], "methods": ["mean_diff", "probe"], "layers": [2, 3], "selection_limit": 4, "test_limit": 4,
    "controls": {"random": 1, "shuffled": 0, "prompt_only": False}, "name": "a first look", "tags": ["pilot"],
}  # fmt: skip
Files = list[tuple[str, str, bytes]]


def truncate(api: ApiProcess) -> None:
    """Empties every table but those of the keys and of the schema's version."""
    with api.sessions.begin() as session:
        named = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        session.execute(text(f"TRUNCATE {', '.join(name for name in named if name not in KEPT)} CASCADE"))


def fill(api: ApiProcess, client: httpx2.Client) -> None:
    """Empties the database and makes the contents again; `client` is the administrator's."""
    truncate(api)
    storage = open_storage(api.settings.storage_url.get_secret_value())
    with api.sessions.begin() as session:
        session.add(Model(name=MODEL, source=f"/models/{MODEL}", state="ready", facts=FACTS, created_by="admin"))
    unlimited = dict.fromkeys(("max_queued", "max_running", "device_seconds_per_day", "stored_bytes"), "unlimited")
    assert (
        client.put(f"/v1/quotas/{OWNER}", json=unlimited).status_code == 200
    )  # a quota for everybody that the run sets must not stop it
    upload_traits(client)
    study = client.post("/v1/studies", json=STUDY)
    assert study.status_code == 202, study.text
    while (lease := _claim(api)) is not None:
        _finish(api, storage, lease)
    assert client.get(f"/v1/studies/{study.json()['id']}").json()["state"] == "succeeded"
    assert client.post("/v1/calibrations", json={"model": MODEL}).status_code == 202  # one more job, which stays queued


def upload_traits(client: httpx2.Client) -> None:
    """The shipped traits, which every service has from its start on."""
    from shipped import TRAIT_NAMES, trait_folder

    for name in TRAIT_NAMES:
        files = [("files", (path.name, path.read_bytes())) for path in sorted(trait_folder(name).iterdir())]
        made = client.post("/v1/traits", data={"name": name, "visibility": "public"}, files=files)
        assert made.status_code == 201, made.text


def _claim(api: ApiProcess) -> Lease | None:
    for job_class in ("model", "light"):
        with api.sessions.begin() as session:
            worker = f"{job_class}-0@here"
            session.merge(Worker(id=worker, job_class=job_class, device="cpu", host="here", parent_pid=1, version="test"))
            session.flush()
            claimer = Claimer(worker_id=worker, job_class=job_class, child_pid=1, versions=handler_versions())
            lease = claims.claim(session, claimer, ttl=600, slice_seconds=300)
        if lease is not None:
            return lease
    return None


def _finish(api: ApiProcess, storage: Storage, lease: Lease) -> None:
    outcome, files = RESULTS[lease.job.kind](lease.job.spec)
    blobs = [(name, media_type, stage(api.sessions, storage, data)) for name, media_type, data in files]
    with api.sessions.begin() as session:
        _succeed(session, lease, outcome, blobs)


def _succeed(session: Session, lease: Lease, outcome: dict[str, Any], blobs: list[Any]) -> None:
    endings.succeed(session, lease.job.id, lease.token, outcome, blobs, metrics={"device_seconds": 2.0, "peak_bytes": 1 << 20})


def _calibration(_spec: dict[str, Any]) -> tuple[dict[str, Any], Files]:
    data = b'{"experiment": "calibration", "aggregate": {"n_prompts": 50}}\n'
    return {"calibration": SUMMARY}, [("calibration.json", "application/json", data)]


def _extraction(spec: dict[str, Any]) -> tuple[dict[str, Any], Files]:
    [position], [component] = spec["positions"], spec["components"]
    layers, methods = spec["layers"], [*spec["methods"], *spec["controls"]]
    random = np.random.default_rng(0)
    vectors, facts = {}, []
    for layer in layers:
        for method in methods:
            key = f"{position}/{component}/{method}/{layer}"
            vectors[key] = random.normal(size=64).astype(np.float32)
            vectors[key] /= np.linalg.norm(vectors[key])
            place = {"position": position, "component": component, "method": method, "layer": layer, "key": key}
            separation = {"accuracy": 0.9, "cohens_d": 1.5, "auroc": 0.95}
            facts.append(
                {
                    **place,
                    "width": 64,
                    "norm": 2.0,
                    "separation": separation,
                    "massive": MASSIVE,
                }
            )
    found = {
        "weight_hash": "a" * 64, "reading_hash": "d" * 64, "positions": [position], "components": [component], "layers": layers,
        "rows_key": None, "summary": {"examples": 24},
    }  # fmt: skip
    row = {"class": "positive", "index": 0, "prompt": "How?", "system_prompt": None, "response": " So.", "kept": True}
    return {"extraction": found, "vectors": facts}, [
        ("extraction.json", "application/json", json.dumps({"vectors": facts}).encode()),
        ("vectors.safetensors", "application/octet-stream", to_bytes(vectors, {"model": spec["model"]})),
        ("responses.jsonl", "application/x-ndjson", json.dumps(row).encode() + b"\n"),
    ]


def _steering(spec: dict[str, Any]) -> tuple[dict[str, Any], Files]:
    found = {
        "weight_hash": "a" * 64,
        "reading_hash": "d" * 64,
        "judge": spec["judge"]["name"],
        "summary": {"methods": {"probe": {"delta": 30.5}}},
    }
    run = {"run": "r0", "set": "test", "r": 0.5, "vector": {"method": "probe", "layer": 2}, "trait": 61.0, "coherence": 88.0}
    answer = {"run": "r0", "set": "test", "question": "Why?", "text": "No.", "trait": 61.0, "coherence": 88.0}
    return {"steering": found}, [
        ("summary.json", "application/json", json.dumps(found["summary"]).encode()),
        *((f"{name}.jsonl", "application/x-ndjson", json.dumps(line).encode() + b"\n")
          for name, line in (("runs", run), ("responses", answer), ("results", {"type": "header"}))),
    ]  # fmt: skip


def _report(_spec: dict[str, Any]) -> tuple[dict[str, Any], Files]:
    return {"study": {"partial": False, "missing": []}}, [
        ("report.html", "text/html; charset=utf-8", b"<!doctype html><title>Report</title>"),
        ("report.md", "text/markdown; charset=utf-8", b"# Report\n"),
        ("tables.json", "application/json", b'{"tables": []}'),
        ("labelling.csv", "text/csv; charset=utf-8", b"id,trait,question,answer,label\n0123456789ab,refusal,Why?,No.,\n"),
    ]


RESULTS = {"calibrate": _calibration, "extract": _extraction, "steer": _steering, "report": _report}
