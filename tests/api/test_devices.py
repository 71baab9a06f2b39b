"""Holding a device: who may, what everybody sees of it, and that a claim and a pause never cross."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.devices import repository
from app.devices.models import Worker
from app.jobs.repository import bells_wanted
from tests.api.conftest import Running, submit
from tests.api.lock_waits import until_one_waits

ID = "model-0@gpu-server.lab"


@pytest.fixture
def device(api: Running) -> str:
    """The id of a device: the row of a worker node."""
    with api.sessions.begin() as session:
        session.add(Worker(id=ID, job_class="model", device="cuda:0", host="gpu-server", parent_pid=1, version="1"))
    return ID


@pytest.fixture
def read_device(ada: httpx2.Client, device: str) -> Iterator[Any]:
    """Reads the device as any user sees it, in /v1/devices and in /v1/status, which must agree."""

    def look() -> dict[str, Any]:
        [one] = ada.get("/v1/devices").json()["items"]
        [same] = ada.get("/v1/status").json()["workers"]
        assert {**one, "seen_seconds_ago": 0} == {**same, "seen_seconds_ago": 0}
        assert one["id"] == device
        return dict(one)

    return look


def test_a_held_device_says_by_whom_why_and_until_when(admin: httpx2.Client, read_device: Any) -> None:
    assert (read_device()["hold"], read_device()["blocked"]) == (None, None)
    paused = admin.post(f"/v1/devices/{ID}/pause", json={"reason": "notebook", "minutes": 90})
    assert paused.status_code == 200, paused.text
    hold = read_device()["hold"]
    assert (hold["mode"], hold["reason"], hold["by"]) == ("paused", "notebook", "root")
    assert hold["since"] < hold["until"]
    assert admin.post(f"/v1/devices/{ID}/drain").json()["hold"] == read_device()["hold"]
    assert (read_device()["hold"]["mode"], read_device()["hold"]["until"]) == ("draining", None)
    assert admin.post(f"/v1/devices/{ID}/resume").json()["hold"] is None
    assert admin.post(f"/v1/devices/{ID}/resume").status_code == 200
    assert read_device()["hold"] is None


def test_a_hold_on_a_device_that_left_the_board_can_be_changed(
    admin: httpx2.Client, device: str, sessions: sessionmaker[Session]
) -> None:
    admin.post(f"/v1/devices/{ID}/pause")
    with sessions.begin() as session:
        session.execute(text("UPDATE workers SET seen_at = now() - interval '25 hours'"))
    assert admin.get("/v1/devices").json()["items"] == []
    assert admin.post(f"/v1/devices/{ID}/drain").json()["hold"]["mode"] == "draining"
    resumed = admin.post(f"/v1/devices/{ID}/resume")
    assert (resumed.status_code, resumed.json()["hold"], resumed.json()["alive"]) == (200, None, False)


def test_a_hold_ends_by_itself(admin: httpx2.Client, read_device: Any, sessions: sessionmaker[Session]) -> None:
    admin.post(f"/v1/devices/{ID}/pause", json={"minutes": 10})
    with sessions.begin() as session:
        session.execute(text("UPDATE device_holds SET until = until - interval '10 minutes'"))
    assert read_device()["hold"] is None


def test_devices_are_held_by_administrators_alone(ada: httpx2.Client, admin: httpx2.Client, device: str) -> None:
    for act in ("pause", "drain", "resume"):
        assert ada.post(f"/v1/devices/{device}/{act}").status_code == 403
        assert admin.post(f"/v1/devices/nobody@nowhere/{act}").json()["code"] == "not_found"
    assert admin.post(f"/v1/devices/{device}/pause", json={"minutes": 0}).status_code == 422
    assert admin.post(f"/v1/devices/{device}/pause", json={"forever": True}).status_code == 422


def test_holding_a_device_is_in_the_audit(admin: httpx2.Client, device: str) -> None:
    admin.post(f"/v1/devices/{device}/pause", json={"reason": "notebook"})
    admin.post(f"/v1/devices/{device}/resume")
    found = [one for one in admin.get("/v1/audit").json()["items"] if one["object"] == device]
    assert [(one["action"], one["actor"]) for one in found] == [("device.resume", "root"), ("device.paused", "root")]
    assert found[1]["details"]["reason"] == "notebook"


def test_no_bell_rings_for_held_and_blocked_devices(
    admin: httpx2.Client, ada: httpx2.Client, read_device: Any, sessions: sessionmaker[Session]
) -> None:
    submit(ada)

    def wanted() -> int:
        with sessions() as session:
            return bells_wanted(session, "model", silent_after=600)

    assert wanted() == 1
    admin.post(f"/v1/devices/{ID}/pause")
    assert wanted() == 0
    admin.post(f"/v1/devices/{ID}/resume")
    blocked = {"code": "low_disk", "detail": "Make room."}
    with sessions.begin() as session:
        session.get_one(Worker, ID).blocked = blocked
    assert wanted() == 0
    assert read_device()["blocked"] == {**blocked, "facts": {}}


def test_a_pause_waits_for_claims_under_way_and_stops_later_ones(
    admin: httpx2.Client, device: str, sessions: sessionmaker[Session]
) -> None:
    """A claim that began before is finished first; one that begins after sees the hold."""
    answered = threading.Event()

    def pause() -> None:
        assert admin.post(f"/v1/devices/{device}/pause").status_code == 200
        answered.set()

    with sessions.begin() as claiming:
        assert repository.mode_for_claiming(claiming, device) is None
        asking = threading.Thread(target=pause)
        asking.start()
        until_one_waits(sessions)
        assert not answered.is_set(), "the pause waits for the claim under way"
        with sessions.begin() as heartbeat, sessions.begin() as other:  # which neither the claim nor the pause may keep waiting
            for session in (heartbeat, other):
                session.execute(text("SET LOCAL lock_timeout = '20s'"))
            heartbeat.execute(text("UPDATE workers SET seen_at = now() WHERE id = :id"), {"id": device})
            assert repository.mode_for_claiming(other, device) is None
    asking.join(120)
    assert answered.is_set()
    with sessions.begin() as session:
        assert repository.mode_for_claiming(session, device) == "paused"
