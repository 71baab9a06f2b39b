"""The long suite, 3: two workers that both believe that they hold a job, leases and clocks that jump."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.jobs import claims, endings
from app.jobs.claims import Reached
from app.jobs.transitions import Superseded
from tests.chaos.arena import TWO_LIGHT, Arena, NodePlan, kill, thaw
from tests.chaos.campaign import Campaign
from tests.chaos.ledger import Ledger, Line
from tests.chaos.surroundings import Clock, Unavailable

SECONDS = {"m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    made = Arena([*TWO_LIGHT, NodePlan("light-2")])
    yield made
    made.close()


def _forge(session: Session, job: str, token: int) -> None:
    """Tries everything that a worker can write, with a token that is no longer valid; each must be refused."""
    attempts = [
        lambda: claims.renew(session, job, token, 60),
        lambda: claims.report(session, job, token, Reached(values={"phase": "forged"})),
        lambda: endings.succeed(session, job, token, {}, [], metrics={}),
        lambda: endings.fail(session, job, token, {"code": "forged", "detail": ""}),
        lambda: endings.cancelled(session, job, token),
        lambda: endings.requeue(session, job, token, "forged", {}),
    ]
    for write in attempts:
        with pytest.raises(Superseded):
            write()


def test_two_holders(arena: Arena, ledger: Ledger) -> None:
    """A node is frozen, parent and child; its lease ends, another takes the job over; it thaws and must write nothing."""
    campaign = Campaign(arena, ledger, "two workers with the same lease")
    for _ in range(2):
        campaign.submit(90, steps=6, seconds=0.1)
        frozen = [arena.frozen(campaign.title, node=node) for node in ("light-0", "light-1")]
        try:
            for job, _pids in frozen:
                campaign.strike("start", job["id"])
            for strike in campaign.strikes:
                campaign.recovered(strike)
        finally:
            for _job, pids in frozen:
                thaw(pids)
        arena.until(lambda: campaign.ended() == len(campaign.told), 120, "the jobs of this turn to end")
    job = campaign.submit(1, steps=30, seconds=0.2)[0]
    running = arena.until(lambda: [row for row in arena.held(campaign.title) if row["id"] == job], 30, "the last job to run")[0]
    with arena.session() as session:
        _forge(session, job, running["lease_token"] - 1)
        session.rollback()
    campaign.finish(120)


def test_leases_shifted(arena: Arena, ledger: Ledger) -> None:
    """As if the database's clock had jumped: an hour ahead, every lease has ended; an hour back, leases end an hour late.

    The reconciler takes a lease that ended before the database's start, as these may have, for an outage: the job is charged no loss.
    """
    campaign = Campaign(arena, ledger, "leases shifted by an hour in SQL")
    campaign.submit(90, steps=10, seconds=0.1)
    for _ in range(3):
        job = campaign.submit(1, steps=60, seconds=0.5, owner="dan")[0]
        arena.until(lambda job=job: job in {row["id"] for row in arena.held(campaign.title)}, 60, "the long job to run")
        strike = campaign.strike("start", job)
        arena.until(lambda job=job: _shifted(arena, job, "-"), 60, "the reconciler to see it")
        campaign.recovered(strike)
    job, frozen = arena.frozen(campaign.title)
    _shifted(arena, job["id"], "+")
    strike = campaign.strike("start", job["id"])
    kill(job["child_pid"])
    thaw(frozen)
    campaign.recovered(strike)
    campaign.finish(180)


def _shifted(arena: Arena, job: str, way: str) -> bool:
    """Moves the lease of a running job, which its worker keeps renewing; returns whether the reconciler has taken the job away."""
    arena.sql(f"UPDATE jobs SET lease_expires_at = now() {way} interval '1 hour' WHERE id = %s AND state = 'running'", job)
    return bool(arena.sql("SELECT 1 FROM job_events WHERE job_id = %s AND type IN ('lost', 'interrupted')", job))


def test_clocks(ledger: Ledger, tmp_path: Path) -> None:
    """Both nodes' wall clocks jump, in opposite directions; leases are counted on monotonic clocks and by the database alone."""
    title = "workers' clocks jumped by hours and days"
    with contextlib.ExitStack() as stack:
        try:
            clocks = [Clock(tmp_path / f"clock-{n}") for n in range(2)]
        except Unavailable as why:
            ledger.add(Line(title, not_run=str(why)))
            pytest.skip(f"NOT RUN: {why}")
        arena = Arena([NodePlan(f"light-{n}", clock.environment) for n, clock in enumerate(clocks)])
        stack.callback(arena.close)
        campaign = Campaign(arena, ledger, title)
        campaign.submit(120, steps=4, seconds=0.2)
        for offsets in (("+2h", "-2h"), ("-30d", "+30d"), ("+10y", "+0"), ("+0", "-5m")):
            arena.victim(title)
            strike = campaign.strike()
            for clock, offset in zip(clocks, offsets, strict=True):
                clock.set(offset)
                seconds = float(offset.rstrip("mhdy")) * SECONDS.get(offset[-1], 1)
                assert clock.ahead() == pytest.approx(seconds, abs=60), "the clock jumped"
            campaign.recovered(strike)
            time.sleep(5)  # some renewals and sweeps under these clocks before the next jump
        campaign.finish(120)
        rows = arena.sql("SELECT worker_id, max(losses) AS losses FROM jobs WHERE name = %s GROUP BY worker_id", title)
        assert all(row["losses"] == 0 for row in rows), "no job lost its worker"
