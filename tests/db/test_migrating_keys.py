"""After a migration, idempotency keys from before fields were renamed still replay, and finished jobs from then are still reused."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from app import migrate
from app.settings import Settings
from app.studies.schemas import StudyRequest
from tests.api.conftest import FACTS, Running, engine, sessions, settings

__all__ = ["engine", "sessions", "settings"]

BEFORE = "0009"
"""The revision of the last version with the old field names."""
KINDS = {"calibrations": "calibrate", "extractions": "extract", "generations": "generate", "steerings": "steer"}
BODIES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "calibrations": (
        '{"after":[],"experiment":"calibration","group":null,"layers":[5,2],"max_new_tokens":128,"model":"demo","model_variant":null,"name":null,'
        '"notes":null,"priority":0,"prompts":["a ?","b ?"],"rule":"peeling","special_tokens":"markup","tags":[],"visibility":"private",'
        '"webhook":null}',
        [
            {"model": "demo", "prompts": ["a ?", "b ?"], "layers": [5, 2]},
            {"model": "demo", "prompts": ["a ?", {"prompt": "b ?"}], "layers": [5, 2]},
        ],
    ),
    "extractions": (
        '{"after":[],"calibration":null,"components":["residual"],"controls":2,"experiment":null,"group":null,"keep_rows":true,"layers":[5,2],'
        '"max_new_tokens":null,"methods":["probe"],"model":"demo","model_variant":null,"name":null,"notes":null,"positions":["response[:5]"],'
        '"priority":0,"refits":0,"resamples":50,"responses":"generate","seed":0,"special_tokens":"markup","tags":[],"trait":"refusal",'
        '"validation_share":0.2,"vetting":null,"visibility":"private","webhook":null}',
        [
            {"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [5, 2], "controls": 2},
            {"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [5, 2], "control_vectors": 2},
        ],
    ),
    "generations": (
        '{"after":[],"calibration":null,"coefficients":null,"doses":[0.5],"group":null,"max_new_tokens":64,"model":"demo","name":null,'
        '"notes":null,"operation":"add","priority":0,"prompts":[{"prompt":"a ?","system_prompt":null}],"sampling":null,"scope":"all",'
        '"special_tokens":"markup","tags":[],"vectors":[],"visibility":"private","webhook":null}',
        [
            {"model": "demo", "prompts": [{"prompt": "a ?"}], "doses": [0.5]},
            {"model": "demo", "prompts": ["a ?"], "doses": [0.5]},
        ],
    ),
    "steerings": (
        '{"ablate_plain":false,"after":[],"budget":6,"calibration":null,"capability":null,"coefficients":null,"coherence_threshold":70.0,'
        '"combine":false,"components":null,"controls":{"prompt_only":true,"random":3,"shuffled":3},"decomposition":true,"doses":null,'
        '"extra_sets":[],"extraction":null,"group":null,"judge":"reference","layers":null,'
        '"matched":["dose","coherence","divergence","coefficient"],"max_new_tokens":64,"methods":null,"model":"demo","name":null,"notes":null,'
        '"off_target":[],"operation":"add","positions":null,"priority":0,"questions":null,"reference_protocol":false,"sampling":null,'
        '"scope":"all","seed":0,"selection_limit":null,"special_tokens":"markup","tags":[],"test_limit":null,"trait":"refusal","vectors":null,'
        '"visibility":"private","webhook":null}',
        [{"model": "demo", "trait": "refusal"}],
    ),
}
"""By route: the body as the version before wrote it for the key's hash; then the same request with the old and with the new field names."""
STUDY = (
    '{"ablation":null,"after":[],"budget":6,"calibration_new_tokens":128,"capability":null,"coherence_threshold":70.0,'
    '"components":["residual"],"controls":{"prompt_only":true,"random":3,"shuffled":3},"evidence":"quick","group":null,"judge":"reference",'
    '"layers":"middle","matched":["dose","coherence","divergence","coefficient"],"max_new_tokens":64,'
    '"methods":["mean_diff","mean_diff_rownorm","mean_diff_top1","mean_diff_cleaned","probe","probe_cleaned","random"],"models":["demo"],'
    '"name":null,"notes":null,"positions":["response[:5]"],"priority":0,"published":[],"reference_protocol":false,"refits":null,'
    '"resamples":50,"seed":0,"selection_limit":null,"skip_unregistered":false,"special_tokens":"markup","tags":[],"test_limit":null,'
    '"traits":["refusal"],"visibility":"private","webhook":null}'
)
"""The body of a study of one model and one trait, as the version before wrote it."""
SPEC = {
    "experiment": "calibration", "kind": "calibrate", "layers": [2, 5], "max_new_tokens": 128, "model": "demo", "prompts": ["a ?", "b ?"],
    "reading_hash": FACTS["reading_hash"], "rule": "peeling", "schema_version": 2, "special_tokens": "markup",
    "weight_hash": FACTS["weight_hash"],
}  # fmt: skip
"""The spec that the version before made of that calibration."""
INSERT_JOB = """INSERT INTO jobs (id, kind, job_class, handler_version, owner, model, spec, spec_hash, state, result)
VALUES (:id, :kind, 'model', 1, 'ada', 'demo', :spec, :spec_hash, :state, :result)"""
INSERT_KEY = "INSERT INTO idempotency_keys (owner, route, key, body_hash, job_id) VALUES ('ada', :route, 'k', :hash, :job)"


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def stored_before(url: str) -> dict[str, str]:
    """Rows of the version before, written into a database of its schema; the jobs' ids by route."""
    migrate.downgrade(url, BEFORE)
    engine = create_engine(url)
    jobs = {}
    with engine.begin() as connection:
        for number, (route, (body, _)) in enumerate(BODIES.items()):
            kind = KINDS[route]
            jobs[route] = f"job_{number}{'0' * 25}"
            spec = SPEC if kind == "calibrate" else {"kind": kind, "model": "demo"}
            canonical = json.dumps({"kind": kind, "spec": spec}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            finished = {"calibration": {"id": "cal_x", "reading_hash": FACTS["reading_hash"]}}
            state, found = ("succeeded", json.dumps(finished)) if kind == "calibrate" else ("queued", None)
            connection.execute(
                text(INSERT_JOB),
                {
                    "id": jobs[route], "kind": kind, "spec": json.dumps(spec), "spec_hash": sha256(canonical), "state": state,
                    "result": found,
                },
            )  # fmt: skip
            connection.execute(text(INSERT_KEY), {"route": f"POST /v1/{route}", "hash": sha256(body), "job": jobs[route]})
    engine.dispose()
    migrate.upgrade(url)
    return jobs


@pytest.fixture
def old(database_url: str, settings: Settings, sessions: sessionmaker[Session]) -> Iterator[tuple[Running, dict[str, str]]]:
    """The application over the migrated database."""
    jobs = stored_before(database_url)
    running = Running(settings, sessions)
    running.start()
    running.add_model()
    yield running, jobs
    running.stop()


def test_keys_from_before_replay_with_old_and_new_field_names(old: tuple[Running, dict[str, str]]) -> None:
    running, jobs = old
    with running.client("ada") as client:
        for route, (_, bodies) in BODIES.items():
            for body in bodies:
                replayed = client.post(f"/v1/{route}", json=body, headers={"Idempotency-Key": "k"})
                assert replayed.status_code == 202, (route, body, replayed.text)
                assert replayed.json()["id"] == jobs[route]
            other = client.post(f"/v1/{route}", json=body | {"max_new_tokens": 9}, headers={"Idempotency-Key": "k"})
            assert other.json()["code"] == "idempotency_key_reused"


def test_the_body_of_a_study_is_written_as_before() -> None:
    body = StudyRequest.model_validate({"models": ["demo"], "traits": ["refusal"]}).model_dump(mode="json")
    assert json.dumps(body, sort_keys=True, separators=(",", ":")) == STUDY


def test_a_job_from_before_is_reused_with_old_and_new_field_names(old: tuple[Running, dict[str, str]]) -> None:
    running, jobs = old
    with running.client("ada") as client:
        for body in BODIES["calibrations"][1]:
            found = client.post("/v1/calibrations?reuse=true", json=body)
            assert (found.status_code, found.json()["id"]) == (200, jobs["calibrations"]), found.text
