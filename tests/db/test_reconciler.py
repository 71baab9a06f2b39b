"""When the reconciler declares a lease lost, and what else it sweeps. Leases are moved into the past, so no test waits for one to expire."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import text

from app.bell import Bell
from app.settings import LeaseSettings, Settings
from tests.db.conftest import Desk
from workers.reconciler import Clock, Reconciler

TTL = 4.0
"""Seconds. A clock that seems to jump by more than half of it starts the wait again, and a busy machine may hold a sweep up for a second."""


@pytest.fixture
def reconciler(desk: Desk, broker_url: str, broker_prefix: str) -> Reconciler:
    """A reconciler, once the database is up for longer than a lease: leases that expire around its start are not charged."""
    desk.wait_until_up_for(TTL + 1)
    bell = Bell(Settings(broker_url=broker_url, broker_prefix=broker_prefix))
    return Reconciler(desk.sessions, bell, LeaseSettings(ttl=TTL, margin=0.1, sweep=0.1))


def _expire(desk: Desk, seconds: float = 1) -> None:
    """Lets all leases expire so many seconds ago."""
    with desk.sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET lease_expires_at = now() - interval '{seconds} s' WHERE worker_id IS NOT NULL"))


def _sweep_until_expired(reconciler: Reconciler, began: float) -> float:
    """The seconds from `began` until a sweep declares a lease lost."""
    while not reconciler.sweep():
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    return time.monotonic() - began


def test_an_expired_lease_goes_back_to_the_queue_but_not_before_the_reconciler_has_been_connected_for_a_ttl(
    desk: Desk, reconciler: Reconciler
) -> None:
    job_id = desk.submit()
    desk.claim()
    _expire(desk)
    assert _sweep_until_expired(reconciler, time.monotonic()) >= TTL
    job = desk.job(job_id)
    assert (job.state, job.losses, job.worker_id) == ("queued", 1, None)


def test_a_lease_that_is_renewed_is_left_alone(desk: Desk, reconciler: Reconciler) -> None:
    job_id = desk.submit()
    desk.claim()
    reconciler.sweep()
    time.sleep(TTL + 0.1)  # connected for a TTL, the reconciler may expire leases
    assert reconciler.sweep() == 0
    assert desk.job(job_id).state == "running"


def test_after_a_reconnect_the_reconciler_waits_a_ttl_again(desk: Desk, reconciler: Reconciler) -> None:
    reconciler.sweep()
    time.sleep(TTL + 0.1)  # connected for a TTL, the reconciler may expire leases
    desk.submit()
    desk.claim()
    _expire(desk)
    began = time.monotonic()
    reconciler.disconnected()
    assert reconciler.sweep() == 0
    assert _sweep_until_expired(reconciler, began) >= TTL


@pytest.mark.parametrize("jump", [3600, 0.75 * TTL], ids=["set on by an hour", "longer than a live lease may have left"])
def test_when_the_databases_clock_has_jumped_ahead_the_reconciler_waits_a_ttl(
    desk: Desk, reconciler: Reconciler, jump: float
) -> None:
    reconciler.sweep()
    time.sleep(TTL + 0.1)  # connected for a TTL, the reconciler may expire leases
    desk.submit()
    desk.claim()
    _expire(desk)
    assert reconciler._clock is not None
    began = time.monotonic()
    reconciler._clock = Clock(reconciler._clock.database - jump, reconciler._clock.own)
    assert reconciler.sweep() == 0
    assert _sweep_until_expired(reconciler, began) >= TTL


def test_a_lease_that_expired_around_the_databases_start_is_not_charged(
    desk: Desk, reconciler: Reconciler, postgres: object
) -> None:
    job_id = desk.submit()
    desk.claim()
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET lease_expires_at = pg_postmaster_start_time() - interval '1 s'"))
    _sweep_until_expired(reconciler, time.monotonic())
    job = desk.job(job_id)
    assert (job.state, job.losses) == ("queued", 0)


def test_a_lost_attempt_is_charged_until_its_lease_ran_out_and_an_outage_is_not(desk: Desk, reconciler: Reconciler) -> None:
    """A lost worker held its device until then; for an outage of the database no user is charged."""
    held, away = desk.submit("ann"), desk.submit("bob")
    assert desk.claim() is not None
    assert desk.claim() is not None
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET started_at = now() - interval '71 s', lease_expires_at = now() - interval '1 s'"))
        outage = "UPDATE jobs SET lease_expires_at = pg_postmaster_start_time() - interval '1 s' WHERE id = :job"
        session.execute(text(outage), {"job": away})
    while reconciler.sweep() == 0:
        time.sleep(0.02)
    assert desk.job(held).device_seconds == pytest.approx(70, abs=0.01)
    assert desk.job(away).device_seconds == 0
    with desk.sessions() as session:
        booked = session.execute(text("SELECT owner, device_seconds, attempts FROM usage_days ORDER BY owner")).all()
        recent = session.execute(text("SELECT owner, recent_seconds FROM owner_turns WHERE lane = 'model' ORDER BY owner")).all()
    assert [(owner, round(seconds), attempts) for owner, seconds, attempts in booked] == [("ann", 70, 1), ("bob", 0, 1)]
    assert [(owner, round(seconds)) for owner, seconds in recent] == [("ann", 70), ("bob", 0)]


def test_two_reconcilers_do_not_sweep_at_once(desk: Desk, reconciler: Reconciler) -> None:
    from workers.reconciler import SWEEP_LOCK

    reconciler.sweep()
    time.sleep(TTL + 0.1)  # connected for a TTL, the reconciler may expire leases
    desk.submit()
    desk.claim()
    _expire(desk)
    with desk.sessions.begin() as other:
        other.execute(text(f"SELECT pg_advisory_xact_lock({SWEEP_LOCK})"))
        assert reconciler.sweep() == 0
    assert reconciler.sweep() == 1


def test_old_idempotency_keys_are_forgotten(desk: Desk, reconciler: Reconciler) -> None:
    from app.jobs.submission import Idempotency

    desk.submit(idempotency=Idempotency("POST /v1/x", "k1", "0" * 64))
    desk.submit(idempotency=Idempotency("POST /v1/x", "k2", "0" * 64))
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key = 'k1'"))
    reconciler.sweep()
    with desk.sessions() as session:
        assert session.scalars(text("SELECT key FROM idempotency_keys")).all() == ["k2"]


def test_a_lost_bell_is_rung_again_once_for_each_idle_worker(
    desk: Desk, broker_url: str, broker_prefix: str, make_client: Callable[[str], object]
) -> None:
    settings = Settings(broker_url=broker_url, broker_prefix=broker_prefix)
    reconciler = Reconciler(desk.sessions, Bell(settings), LeaseSettings(ttl=60))
    for _ in range(5):
        desk.submit()
    with desk.sessions.begin() as session:
        for name in ("w1", "w2"):
            session.execute(
                text(
                    "INSERT INTO workers (id, job_class, device, host, parent_pid, version) VALUES (:n, 'model', 'cpu', 'h', 1, '0')"
                ),
                {"n": name},
            )
    client = make_client(broker_url)
    for _ in range(3):
        reconciler.sweep()
        assert client.llen(f"{broker_prefix}model") == 2  # type: ignore[attr-defined]
    lease = desk.claim("w1")
    assert lease is not None
    client.delete(f"{broker_prefix}model")  # type: ignore[attr-defined]
    reconciler.sweep()
    assert client.llen(f"{broker_prefix}model") == 1, "a busy worker needs no bell"  # type: ignore[attr-defined]
