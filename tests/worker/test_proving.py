"""The proofs of registered models on a real service: stored and shared, refused, resumed after a kill, cancelled, and run when idle."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, text

from app.embedded.broker import Broker
from app.jobs.models import Job
from app.models.models import Model
from app.settings import LeaseSettings, Settings
from shipped import model_folder
from tests.api.conftest import PEPPER, Running
from tests.forked import Forking
from tests.ml.tiny_models import tiny_model_folder
from tests.worker.conftest import LEASE, Service
from tests.worker.test_held_devices import hold, resume
from workers.job import HOW_COMPUTED
from workers.lm.inspection import inspect_folder
from workers.lm.proofs.outcome import VERSION
from workers.lm.proofs.passport import PROOFS
from workers.shelf import Shelf


class Lab:
    """A service with an API, a light node and a model node, and an HTTP client of an administrator."""

    def __init__(self, service: Service, http: httpx2.Client) -> None:
        self.service, self.http = service, http

    def register(self, name: str, folder: Path) -> str:
        """Registers a folder; returns the id of the job that proves the model."""
        answer = self.http.post("/v1/models", json={"name": name, "source": str(folder)})
        assert answer.status_code == 202, answer.text
        shown = self.model(name)
        return str(shown.get("prove_job") or shown["inspect_job"])

    def model(self, name: str) -> dict[str, Any]:
        return dict(self.http.get(f"/v1/models/{name}").json())

    def locked(self, job_id: str) -> bool:
        """Whether a transaction holds the job's row."""
        with self.service.sessions() as session:
            free = text("SELECT 1 FROM jobs WHERE id = :id FOR UPDATE SKIP LOCKED")
            return session.scalar(free, {"id": job_id}) is None

    def stopped_while_proving(self, job_id: str) -> int:
        """Suspends the process that runs the job between two proofs, outside a transaction on the job, and returns its pid."""
        self.service.running(job_id, cells=1)
        child = next(node for node in self.service.nodes if node.name == "model-0").child()
        os.kill(child, signal.SIGSTOP)
        while self.locked(job_id):
            os.kill(child, signal.SIGCONT)
            time.sleep(0.01)
            os.kill(child, signal.SIGSTOP)
        job = self.service.job(job_id)
        assert (job.state, job.phase) == ("running", "proving")
        return child


@pytest.fixture(scope="module")
def lab(
    postgres_url_factory: Callable[[], str], broker: Broker, forking: Forking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("proving")
    settings = Settings(
        database_url=postgres_url_factory(), broker_url=broker.url, storage_url=f"file://{folder}/objects", home=folder,
        broker_prefix=f"proving-{os.getpid()}:", key_pepper=PEPPER, lease=LeaseSettings(**{**LEASE, "ttl": 20}),
    )  # fmt: skip
    service = Service(settings, folder, forking)
    api = Running(settings, service.sessions)
    try:
        for name in ("light-0", "model-0"):
            service.node(name, BINNACLE_LEASE_IDLE="1")
        api.start()
        with api.client("root", "admin") as http:
            yield Lab(service, http)
    finally:
        api.stop()
        service.close()


def test_equal_models_are_proved_once_and_results_name_the_reading_hash(lab: Lab, tmp_path: Path) -> None:
    job = lab.service.ended(lab.register("first", model_folder("demo-severe")), 240)
    model = lab.model("first")
    assert (job.state, job.owner, model["state"], model["outcome"]) == ("succeeded", "root", "ready", "limited")
    assert [proof["name"] for proof in model["proofs"]] == list(PROOFS)
    assert (job.progress_done, job.progress_unit, job.device_seconds > 0) == (len(PROOFS), "proofs", True)
    copy = lab.service.ended(lab.register("second", shutil.copytree(model_folder("demo-severe"), tmp_path / "copy")))
    second = lab.model("second")
    assert (copy.result or {})["model"]["stored"] is True
    assert "loading model" not in [event.data.get("phase") for event in lab.service.events(copy.id)]
    assert (second["state"], second["proofs"]) == ("ready", model["proofs"])
    asked = {"model": "second", "prompts": ["hello", "what is one plus one ?"], "max_new_tokens": 4}
    [fit] = lab.http.post("/v1/calibrations?dry_run=true", json=asked).json()["memory"]
    assert (fit["worker"].split("@")[0], fit["fits"], fit["row_bytes"] > 4 * model["facts"]["vocab_size"]) == (
        "model-0",
        True,
        True,
    )
    made = lab.http.post("/v1/calibrations", json=asked).json()
    lab.service.ended(made["id"])
    found = lab.http.get(f"/v1/calibrations/{made['id']}").json()
    provenance = lab.http.get(f"/v1/calibrations/{made['id']}/calibration.json").json()["provenance"]
    reading = model["facts"]["reading_hash"]
    assert (found["reading_hash"], found["doubt"], made["spec"]["reading_hash"]) == (reading, None, reading)
    assert (provenance["reading_hash"], provenance["proofs_version"]) == (reading, VERSION)
    shelf = Shelf(lab.service.settings, lab.service.sessions)  # as a study's report asks
    passport = shelf.passport("second", provenance["weight_hash"])
    assert passport is not None
    assert passport["reading_hash"] == reading
    assert shelf.passport("second", "f" * 64) is None, "a report showed the proofs of other weights"


def test_a_refused_model_fails_waiting_jobs_with_the_same_reason(lab: Lab, tmp_path: Path) -> None:
    """The tokenizer has an id beyond the weights, as that of another model may; only the proofs notice."""
    folder = shutil.copytree(tiny_model_folder(tmp_path, "llama"), tmp_path / "bad")
    backend = json.loads((folder / "tokenizer.json").read_text())
    backend["model"]["vocab"]["e"] += 5000
    (folder / "tokenizer.json").write_text(json.dumps(backend))
    prove = lab.register("bad", folder)
    waiting = lab.http.post("/v1/calibrations", json={"model": "bad"}).json()
    assert waiting["waiting_for"] == [prove]
    lab.service.ended(prove)
    model, wanted = lab.model("bad"), "take both from the same place"
    assert (model["state"], model["fault"]["code"], model["outcome"]) == ("faulty", "proof_refused", "refused")
    assert "refused" in [proof["outcome"] for proof in model["proofs"] if proof["name"] == "tokenizer"]
    failed = lab.service.ended(waiting["id"])
    again = lab.http.post("/v1/calibrations", json={"model": "bad"})
    for said in (model["fault"]["detail"], (failed.error or {})["detail"], again.json()["detail"]):
        assert wanted in said
    assert again.status_code == 422


def test_a_worker_killed_between_two_proofs_loses_no_finished_proof(lab: Lab, tmp_path: Path) -> None:
    job_id = lab.register("killed", tiny_model_folder(tmp_path, "llama", seed=2))
    os.kill(lab.stopped_while_proving(job_id), signal.SIGKILL)
    job = lab.service.ended(job_id, 240)
    cells = [
        event.data["cell"]
        for event in lab.service.events(job_id)
        if event.type == "cell" and event.data["cell"] not in HOW_COMPUTED
    ]
    assert (job.state, job.attempt, lab.model("killed")["state"]) == ("succeeded", 2, "ready")
    assert len(cells) == len(set(cells)) == len(PROOFS)


def test_a_model_with_cancelled_proofs_names_the_retry_and_is_proved_by_it(lab: Lab, tmp_path: Path) -> None:
    job_id = lab.register("stopped", tiny_model_folder(tmp_path, "llama", seed=3))
    child = lab.stopped_while_proving(job_id)
    cancelled = lab.http.post(f"/v1/jobs/{job_id}/cancel")
    assert cancelled.json().get("state") == "cancelling", cancelled.text
    os.kill(child, signal.SIGCONT)
    assert lab.service.ended(job_id).state == "cancelled"
    model = lab.model("stopped")
    assert (model["state"], model["fault"]["code"]) == ("faulty", "cancelled")
    assert f"POST /v1/jobs/{job_id}/retry" in lab.http.post("/v1/calibrations", json={"model": "stopped"}).json()["detail"]
    retried = lab.http.post(f"/v1/jobs/{job_id}/retry").json()["id"]
    assert lab.service.ended(retried).state == "succeeded"
    assert (lab.model("stopped")["state"], lab.model("stopped")["prove_job"]) == ("ready", retried)


def test_a_job_is_deferred_while_its_model_is_inspected_again(lab: Lab) -> None:
    lab.service.ended(lab.register("again", model_folder("demo-signal")), 240)
    light, device = lab.service.nodes
    for node in (light, device):
        hold(lab.service, node)
    asked = {"model": "again", "prompts": ["hello"], "max_new_tokens": 2}
    job_id = lab.http.post("/v1/calibrations", json=asked).json()["id"]
    assert lab.http.post("/v1/models/again/inspect").status_code == 202
    resume(lab.service, device)
    lab.service.until(
        lambda: lab.service.job(job_id).attempt and lab.service.job(job_id).state != "running", "the job to be tried"
    )
    assert "deferred" in lab.service.event_types(job_id)
    resume(lab.service, light)
    assert lab.service.ended(job_id).state == "succeeded"


def test_models_of_older_inspections_are_proved_one_by_one_when_a_device_is_idle(lab: Lab) -> None:
    names = ["old-mild", "old-plain"]
    with lab.service.sessions.begin() as session:
        for name in names:
            folder = model_folder(name.replace("old", "demo"))
            facts = inspect_folder(folder).to_dict() | {"config_hash": ""}  # as the oldest inspections left it
            session.add(Model(name=name, source=str(folder), state="ready", facts=facts, created_by="grace"))
    assert [lab.model(name)["outcome"] for name in names] == ["unproven"] * 2
    lab.service.until(lambda: all(lab.model(name)["outcome"] == "limited" for name in names), "both to be proved", 240)
    with lab.service.sessions() as session:
        jobs = session.scalars(select(Job).where(Job.kind == "prove", Job.model.in_(names)).order_by(Job.id)).all()
    assert [(job.model, job.owner, job.priority) for job in jobs] == [(name, "grace", -10) for name in names]
    assert jobs[0].finished_at is not None
    assert jobs[1].created_at >= jobs[0].finished_at
