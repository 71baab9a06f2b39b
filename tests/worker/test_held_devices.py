"""Real nodes that are paused, drained or have a full disk claim no job, report the reason, and claim again afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from app.devices import service
from app.devices.models import Worker
from app.devices.schemas import HoldRequest
from tests.ml.tiny_models import tiny_model_folder
from tests.worker.conftest import ADMIN, Node, Service
from tests.worker.looking import register


def hold(live: Service, node: Node, mode: Any = "paused", **facts: Any) -> None:
    with live.sessions.begin() as session:
        service.hold(session, node.id, ADMIN, HoldRequest(**facts), mode)


def resume(live: Service, node: Node) -> None:
    with live.sessions.begin() as session:
        service.resume(session, node.id, ADMIN)


def worker(live: Service, node: Node) -> Worker:
    with live.sessions() as session:
        return session.get_one(Worker, node.id)


def test_a_paused_node_finishes_its_job_and_claims_no_other_until_it_resumes(live: Service) -> None:
    node = live.node()
    first = live.submit(steps=10, seconds=0.2)
    live.running(first, cells=1)
    hold(live, node)
    second = live.submit()
    assert live.ended(first).state == "succeeded"
    assert "drained" not in live.event_types(first)
    live.bell.ring("light")
    live.until(lambda: "claim.not_now" in node.log.read_text(), "the node to look and not to claim")
    assert live.job(second).state == "queued"
    resume(live, node)
    job = live.ended(second)
    assert (job.state, job.attempt) == ("succeeded", 1)


def test_the_job_of_a_drained_node_continues_on_another_from_its_cells(live: Service) -> None:
    first = live.node("light-0")
    gate = live.folder / "gate"
    job_id = live.submit(steps=3, at=2, gate=str(gate))
    live.running(job_id, cells=2)
    hold(live, first, "draining")
    live.until(lambda: "drained" in live.event_types(job_id), "the job to go back")
    given_back = live.job(job_id)
    assert (given_back.state, given_back.losses) == ("queued", 0)
    gate.touch()
    second = live.node("light-1")
    job = live.ended(job_id)
    assert (job.state, job.attempt) == ("succeeded", 2)
    assert job.result["kept"] == [0, 1]
    started = [event.data["worker"] for event in live.events(job_id) if event.type == "started"]
    assert started == [first.id, second.id]


def test_a_hold_outlives_a_restart_of_its_node_and_ends_at_its_time(live: Service) -> None:
    node = live.node()
    hold(live, node, minutes=60)
    assert node.stop() == 0
    job_id = live.submit()
    again = live.node()
    live.until(lambda: "claim.not_now" in again.log.read_text(), "the node to hear the bell and not to claim")
    assert live.job(job_id).state == "queued"
    with live.sessions.begin() as session:
        session.execute(text("UPDATE device_holds SET until = now()"))
    assert live.ended(job_id).state == "succeeded"


def test_a_paused_node_passes_bells_on_to_others(live: Service) -> None:
    paused, _free = live.node("light-0"), live.node("light-1")
    hold(live, paused)
    for _ in range(6):
        job_id = live.submit()
        assert live.ended(job_id).state == "succeeded"
        assert [event.data["worker"] for event in live.events(job_id) if event.type == "started"] == ["light-1@here"]


def test_a_node_with_a_nearly_full_disk_claims_nothing_and_reports_why(live: Service) -> None:
    """The disk is not filled: BINNACLE_MIN_FREE_BYTES is set to more than any disk has."""
    Path(live.folder, "objects").mkdir(exist_ok=True)
    full = live.node("light-0", BINNACLE_MIN_FREE_BYTES=str(1 << 60))
    job_id = live.submit()
    blocked = live.until(lambda: worker(live, full).blocked, "the node to say why")
    assert blocked["code"] == "low_disk"
    assert "1,073,741,824.00 GiB" in blocked["detail"]
    assert blocked["facts"]["free_bytes"] > 0
    live.bell.ring("light")
    live.until(lambda: "claim.not_now" in full.log.read_text(), "the node to refuse")
    assert live.job(job_id).state == "queued"
    assert full.stop() == 0
    roomy = live.node("light-0")
    assert live.ended(job_id).state == "succeeded"
    assert worker(live, roomy).blocked is None


MIB = 1 << 20


@pytest.fixture
def patient(make_service: Callable[..., Service], database_url: str, broker_url: str, broker_prefix: str) -> Service:
    """A service with leases that outlast the import of torch on a busy machine."""
    return make_service(database_url, broker_url, broker_prefix, ttl=40, margin=5)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of some 200 MiB."""
    size = {"hidden_size": 1024, "intermediate_size": 4096, "head_dim": 256}
    folder = tiny_model_folder(tmp_path_factory.mktemp("big"), "llama", **size)
    assert (folder / "model.safetensors").stat().st_size > 150 * MIB
    return folder


@pytest.fixture
def look(patient: Service, big: Path) -> Callable[[], str]:
    """A function that submits a generation with that model."""
    return register(patient, big)


def rss(node: Node) -> int:
    return int(psutil.Process(node.child()).memory_info().rss)


def test_a_paused_device_frees_its_memory_and_loads_the_model_again_when_it_resumes(
    patient: Service, look: Callable[[], str]
) -> None:
    """Without waiting until the model counts as idle."""
    node = patient.node("model-0")
    assert patient.ended(look(), seconds=150).state == "succeeded"
    patient.until(lambda: worker(patient, node).models == ["big"], "the model on the list", 60)
    loaded = rss(node)
    hold(patient, node)
    patient.until(lambda: worker(patient, node).models == [], "the model to leave the list", 60)
    assert loaded - rss(node) > 150 * MIB
    waiting = look()
    patient.until(lambda: "claim.not_now" in node.log.read_text(), "the node to refuse", 60)
    assert patient.job(waiting).state == "queued"
    resume(patient, node)
    assert patient.ended(waiting, seconds=120).state == "succeeded"
    patient.until(lambda: worker(patient, node).models == ["big"], "the model on the list again", 60)


def test_an_idle_model_leaves_the_memory_and_the_status(patient: Service, look: Callable[[], str]) -> None:
    node = patient.node("model-0", BINNACLE_MODEL_IDLE_MINUTES="0.1")
    assert patient.ended(look(), seconds=150).state == "succeeded"
    loaded = rss(node)
    patient.until(lambda: worker(patient, node).memory["models"] == 0, "the idle model to go", 60)
    assert worker(patient, node).models == []
    assert loaded - rss(node) > 150 * MIB
