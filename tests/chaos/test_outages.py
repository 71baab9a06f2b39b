"""The long suite, 2: broker and database flushed, stopped and restarted under a running service, at the leases it ships with."""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from app.embedded.broker import Broker, connect
from app.embedded.postgres import Postgres
from tests.chaos.arena import Arena, gone
from tests.chaos.campaign import Campaign
from tests.chaos.ledger import Ledger
from tests.services import make_quick_folder

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    folder = make_quick_folder()
    server = Broker(folder / "broker")
    server.start()
    yield server
    server.remove()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Durable, as the embedded one is: what it has committed must outlive its death."""
    folder = make_quick_folder()
    server = Postgres(folder / "pg")
    server.start()
    yield server
    server.remove()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def arena(postgres: Postgres, broker: Broker) -> Iterator[Arena]:
    made = Arena(environment={"DATABASE_URL": postgres.url, "BROKER_URL": broker.url})
    yield made
    made.close()


def test_flush(arena: Arena, ledger: Ledger, broker: Broker) -> None:
    """Flushed right after a notification to idle workers: else there would be nothing to flush."""
    campaign = Campaign(arena, ledger, "FLUSHALL")
    for _ in range(10):
        first = campaign.submit(1, steps=2, seconds=0.5)[0]
        with connect(broker.url) as client:
            client.flushall()
            strike = campaign.strike("end", first)
            campaign.submit(11, steps=2, seconds=0.1)
            client.flushall()
        campaign.recovered(strike)
        arena.until(lambda: campaign.ended() == len(campaign.told), 60, "the jobs of this turn to end")
    campaign.finish(60)


def test_broker_away(arena: Arena, ledger: Ledger, broker: Broker) -> None:
    """Workers finish all that was there without it; what is submitted meanwhile is found when it is back."""
    campaign = Campaign(arena, ledger, "broker stopped for 60 s")
    for _ in range(2):
        campaign.submit(60, steps=2, seconds=0.1)
        arena.victim(campaign.title)
        broker.stop()
        stopped = time.monotonic()
        arena.until(lambda: campaign.ended() == len(campaign.told), 60, "the workers to go on without a broker")
        unheard = campaign.submit(30, steps=2, seconds=0.1)
        time.sleep(max(0.0, stopped + 60 - time.monotonic()))  # the length of the outage that the title names
        back = datetime.now(UTC)
        broker.start()
        campaign.recovered(campaign.strike("start", unheard[0], at=back))
    campaign.finish(120)


def test_cancelling_without_broker(arena: Arena, ledger: Ledger, broker: Broker) -> None:
    campaign = Campaign(arena, ledger, "broker stopped while cancelling")
    for spec in ({"steps": 500, "seconds": 0.2}, {"do": "deaf", "hang_seconds": 600}):
        doomed = campaign.submit(4, **spec)
        campaign.cancelled |= set(doomed)
        if "do" in spec:
            held = arena.acting(campaign.title, 2)
        else:
            held = arena.until(lambda: found if len(found := arena.held(campaign.title)) == 2 else [], 60, "two to run")
        broker.stop()
        for job in doomed:
            if job in {row["id"] for row in held}:
                campaign.strike("end", job)
            arena.cancel(job)
        for strike in campaign.strikes:
            campaign.recovered(strike)
        if "do" in spec:  # a handler that never looks up has to be killed
            assert all(gone(row["child_pid"]) for row in held), "cancelled means that the device has stopped"
        campaign.submit(30, steps=2, seconds=0.1)
        broker.start()
        arena.until(lambda: campaign.ended() == len(campaign.told), 90, "the jobs that were not cancelled to end")
    campaign.finish(
        60,
        note="recovery is from the request to `cancelled`; a handler that looks up at once, one that never does after the grace",
    )


def test_database_restarted(arena: Arena, ledger: Ledger, postgres: Postgres) -> None:
    campaign = Campaign(arena, ledger, "Postgres restarted")
    for _ in range(5):
        campaign.submit(30, steps=4, seconds=0.1)
        arena.victim(campaign.title)
        strike = campaign.strike()
        postgres.stop()
        postgres.start()
        campaign.recovered(strike)
    campaign.finish(120)
    assert not arena.sql("SELECT id FROM jobs WHERE name = %s AND losses > 0", campaign.title), "no job is charged a loss"


def test_database_away(arena: Arena, ledger: Ledger, postgres: Postgres) -> None:
    """For two leases: every worker has stopped on its own clock, and no job is charged a loss."""
    campaign = Campaign(arena, ledger, "Postgres killed and away for 120 s")
    campaign.submit(60, steps=6, seconds=0.5)
    held = arena.until(lambda: found if len(found := arena.held(campaign.title)) == 2 else [], 60, "two jobs to run")
    postgres.kill()
    time.sleep(120)  # the length of the outage that the title names
    back = datetime.now(UTC)
    postgres.start()
    for row in held:
        campaign.strike("start", row["id"], at=back)
    for strike in campaign.strikes:
        campaign.recovered(strike)
    campaign.finish(180)
    assert not arena.sql(
        "SELECT job_id, e.data FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.name = %s AND e.type = 'lost'",
        campaign.title,
    )
