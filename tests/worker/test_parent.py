"""The parent process of a node: it registers again, kills and releases jobs for the right reason, and survives missing storage."""

import subprocess
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import delete, func, select, text, update

from app.devices.models import Worker
from app.jobs import claims, endings
from app.jobs.models import Job
from app.settings import LeaseSettings
from app.storage.blobs import stage
from app.storage.factory import open_storage
from tests.storage.references import age, rows
from tests.worker.conftest import Service
from workers import parent
from workers.watch import Sighting, Watch


def test_a_node_with_a_deleted_row_registers_again_and_hears_bells(live: Service) -> None:
    """As after a database was restored from before the node came. The relay rings only registered nodes."""
    node = live.node()
    live.ended(live.submit())
    with live.sessions.begin() as session:
        session.execute(delete(Worker).where(Worker.id == node.id))
    live.until(lambda: live._registered(node), "the node to register again")
    assert live.ended(live.submit()).state == "succeeded"


@pytest.mark.parametrize(("unread", "code"), [(20, "database_unreachable"), (6, "lease_not_renewed")])
def test_a_lease_not_renewed_during_an_outage_is_not_the_fault_of_the_job(unread: float, code: str) -> None:
    """The last renewal was 51 s ago. If the parent could not read the database for the last `unread` = 20 s either, that is the reason."""
    now = time.monotonic()
    watch = Watch(None, LeaseSettings(), "light-0@here", set)  # type: ignore[arg-type]
    watch._read_at = now - unread
    seen = Sighting("job_1", 1, 0, None, renewed_seen=now - 51)
    watch._enforce(seen, now)
    assert seen.killed
    assert seen.reason == {"code": code}


def test_the_reason_of_a_kill_stays_while_the_pool_still_lists_the_child() -> None:
    """The parent may read the row between its SIGKILL and the end of the child, and must keep the reason, an outage."""
    now = time.monotonic()
    watch = Watch(None, LeaseSettings(), "light-0@here", set)  # type: ignore[arg-type]
    watch._seen = seen = Sighting("job_1", 1, 0, None, renewed_seen=now - 51, unseen_for_a_lease=True)
    watch._enforce(seen, now)
    job = Job(id="job_1", lease_token=1, max_seconds=3600.0, stall_seconds=600.0)
    watch._sight(SimpleNamespace(Job=job, cancelling_for=None, still_for=1, running_for=1, expired=False))  # type: ignore[arg-type]
    assert seen.reason == {"code": "database_unreachable"}


def test_a_child_that_is_already_dead_does_not_end_the_watch() -> None:
    """The pool still lists it. The thread that kills must continue, or later jobs run without limits."""
    with subprocess.Popen(["true"]) as child:
        child.wait(120)
    watch = Watch(None, LeaseSettings(), "light-0@here", lambda: {child.pid})  # type: ignore[arg-type]
    seen = Sighting("job_1", 1, child.pid, None, renewed_seen=time.monotonic() - 51)
    watch._enforce(seen, time.monotonic())
    assert seen.killed
    assert watch._struck is None


def test_the_signal_that_ended_a_child_is_named_though_its_end_is_seen_after_the_grace(live: Service) -> None:
    """As when the database answers late: the child died of the SIGTERM, and the SIGKILL that was due later met nothing."""
    job_id = live.submit()
    with subprocess.Popen(["sleep", "600"]) as child:
        claimer = claims.Claimer("light-0@here", "light", child.pid, {"probe": 1})
        with live.sessions.begin() as session:
            claims.claim(session, claimer, ttl=60, slice_seconds=60)
        watch = Watch(live.sessions, LeaseSettings(), "light-0@here", lambda: {child.pid} if child.poll() is None else set())
        watch._read()
        assert watch._seen is not None
        watch._seen.terminate_at, now = time.monotonic(), time.monotonic()
        watch._enforce(watch._seen, now)
        child.wait(120)
        watch._enforce(watch._seen, now + LeaseSettings().kill_grace + 1)
    watch._read()
    assert live.events(job_id)[-1].data["signal"] == "signal 15 (SIGTERM)"


def test_the_exit_of_a_child_without_a_job_is_not_reported_for_the_next_job(live: Service) -> None:
    watch = Watch(live.sessions, LeaseSettings(), "light-0@here", set)
    watch.child_lost("exitcode 1")
    watch._read()
    job_id = live.submit()
    with subprocess.Popen(["true"]) as child:
        child.wait(120)
    with live.sessions.begin() as session:
        claims.claim(session, claims.Claimer("light-0@here", "light", child.pid, {"probe": 1}), ttl=60, slice_seconds=60)
    watch.last_look()
    assert live.event_types(job_id)[-1] == "lost"
    assert "signal" not in live.events(job_id)[-1].data


def test_a_job_first_seen_after_an_outage_is_not_counted_as_lost(live: Service) -> None:
    """It began just before the outage; when the parent first sees it, its lease has expired but its child is alive."""
    job_id = live.submit()
    with subprocess.Popen(["sleep", "600"]) as child:
        claimer = claims.Claimer("light-0@here", "light", child.pid, {"probe": 1})
        with live.sessions.begin() as session:
            claims.claim(session, claimer, ttl=60, slice_seconds=60)
        with live.sessions.begin() as session:
            session.get_one(Job, job_id).lease_expires_at = text("now() - interval '60 seconds'")  # type: ignore[assignment]
        watch = Watch(live.sessions, LeaseSettings(), "light-0@here", lambda: {child.pid} if child.poll() is None else set())
        watch._read()
        assert watch._seen is not None
        watch._read_at = time.monotonic() + 51  # it reads without errors, and the lease is not renewed
        watch._enforce(watch._seen, time.monotonic() + 51)
        child.wait(120)
    watch._read()
    assert live.event_types(job_id)[-1] == "interrupted"
    assert live.job(job_id).losses == 0


def test_a_job_killed_in_place_of_the_one_before_is_not_counted_as_lost(live: Service) -> None:
    """The child has finished the first job and begun the second, but the parent, during an outage, still sees the first without renewals."""
    first, second = live.submit(), live.submit()
    with subprocess.Popen(["sleep", "600"]) as child:
        claimer = claims.Claimer("light-0@here", "light", child.pid, {"probe": 1})
        watch = Watch(live.sessions, LeaseSettings(), "light-0@here", lambda: {child.pid} if child.poll() is None else set())
        with live.sessions.begin() as session:
            lease = claims.claim(session, claimer, ttl=60, slice_seconds=60)
        assert lease is not None
        watch._read()
        with live.sessions.begin() as session:
            endings.succeed(session, first, lease.token, {}, [], metrics={})
            assert claims.claim(session, claimer, ttl=60, slice_seconds=60)
        assert watch._seen is not None
        assert watch._seen.job_id == first
        watch._enforce(watch._seen, time.monotonic() + 51)
        child.wait(120)
        watch.child_lost("signal 9 (SIGKILL)")
        watch._read()
    assert live.event_types(second)[-1] == "interrupted"
    assert live.events(second)[-1].data["meant_for"] == first
    assert live.job(second).losses == 0


def test_a_job_that_ran_during_a_backup_is_not_counted_as_lost_after_the_restore(live: Service) -> None:
    """Its lease is from before the start of the restored database, and may not have expired; its process does not exist."""
    job_id = live.submit()
    with subprocess.Popen(["true"]) as child:
        child.wait(120)
    with live.sessions.begin() as session:
        claims.claim(session, claims.Claimer("light-0@here", "light", child.pid, {"probe": 1}), ttl=60, slice_seconds=60)
        before = text("pg_postmaster_start_time() + interval '59 seconds'")
        session.get_one(Job, job_id).lease_expires_at = before  # type: ignore[assignment]
    watch = Watch(live.sessions, LeaseSettings(), "light-0@here", set)
    watch.last_look()
    assert live.event_types(job_id)[-1] == "interrupted"
    assert (live.job(job_id).state, live.job(job_id).losses) == ("queued", 0)


@pytest.mark.parametrize(("seconds_left", "event"), [(-60, "interrupted"), (30, "lost")])
def test_a_job_that_its_child_left_for_another_goes_back_to_the_queue(live: Service, seconds_left: int, event: str) -> None:
    """After an outage the child takes the next job while the old one is still listed as running. `seconds_left` of the old lease decide
    whether an outage explains it."""
    left, taken = live.submit(), live.submit()
    with subprocess.Popen(["sleep", "600"]) as child:
        claimer = claims.Claimer("light-0@here", "light", child.pid, {"probe": 1})
        for _ in range(2):
            with live.sessions.begin() as session:
                claims.claim(session, claimer, ttl=60, slice_seconds=60)
        with live.sessions.begin() as session:
            session.get_one(Job, left).lease_expires_at = text(f"now() + interval '{seconds_left} seconds'")  # type: ignore[assignment]
        watch = Watch(live.sessions, LeaseSettings(), "light-0@here", lambda: {child.pid})
        watch._read()
        assert live.event_types(left)[-1] == event
        assert watch._seen is not None
        assert watch._seen.job_id == taken
        assert live.job(taken).state == "running"
        assert child.poll() is None
        child.kill()


def test_the_janitor_survives_storage_that_is_missing_at_its_start(
    live: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = tmp_path / "objects"
    garbage = stage(live.sessions, open_storage(f"file://{objects}"), b"nobody refers to this")
    age(live.sessions, 90_000)
    objects.rename(tmp_path / "elsewhere")
    objects.write_text("a file in the way of the folder")
    monkeypatch.setenv("BINNACLE_WORKER_ID", "light-0@here")
    monkeypatch.setattr(parent, "HOUR", 0.1)
    node = parent.Parent(SimpleNamespace(pool=None), live.settings)
    janitor = threading.Thread(target=node._tidy_loop, daemon=True)
    janitor.start()
    janitor.join(1)
    assert janitor.is_alive()
    assert rows(live.sessions) == {garbage.digest}
    mended = tmp_path / "mended"
    mended.symlink_to(tmp_path / "elsewhere")
    mended.replace(objects)  # at once: between two steps the janitor would make a new folder here
    live.until(lambda: not rows(live.sessions), "the garbage to be collected")
    node.leave()
    janitor.join(120)
    node._sessions.kw["bind"].dispose()


def test_a_node_that_leaves_removes_only_its_own_row(live: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first round another node has taken its name while it slept."""
    monkeypatch.setenv("BINNACLE_WORKER_ID", "light-0@here")
    monkeypatch.setenv("BINNACLE_WORKER_CLASS", "light")
    for took_over, left in ((True, 1), (False, 0)):
        node = parent.Parent(SimpleNamespace(pool=None), live.settings)
        node._register()
        with live.sessions.begin() as session:
            if took_over:
                session.execute(update(Worker).values(host="elsewhere", seen_at=func.now() - timedelta(days=1)))
        node.leave()
        node._sessions.kw["bind"].dispose()
        with live.sessions() as session:
            assert session.scalar(select(func.count()).select_from(Worker)) == left
