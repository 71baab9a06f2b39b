"""The long suite, 1: `kill -9` of everything that `binnacle up` runs, again and again, and jobs that harm their own worker."""

import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

import binnacle
from app.bell import CLASSES
from shipped import MODELS
from tests.chaos.arena import TWO_LIGHT, Arena, NodePlan, gone, kill, parent_of, thaw
from tests.chaos.campaign import Campaign
from tests.chaos.ledger import Ledger

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(600)]
TINY = sorted(path.name for path in MODELS.iterdir() if path.is_dir())[0]
PROMPTS = [f"please tell me {n} things about boats and harbours ." for n in range(2, 10)]


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """One service that suffers every fault of this file, one after the other, and is never started afresh but by a fault."""
    assert set(CLASSES) == {"model", "light"}, "a node of every class is struck"
    made = Arena([*TWO_LIGHT, NodePlan("model-0")])
    with binnacle.Client(made.up.url, made.up.key) as client:
        if TINY not in {model["name"] for model in client.models()}:
            client.add_model(TINY, str(MODELS / TINY))
        client.await_model(TINY, timeout=120)
    yield made
    made.close()


def test_child(arena: Arena, ledger: Ledger) -> None:
    campaign = Campaign(arena, ledger, "kill -9 of a worker's child")
    for _ in range(12):
        campaign.submit(15, steps=4, seconds=0.1)
        job, frozen = arena.frozen(campaign.title)
        strike = campaign.strike("start", job["id"])
        kill(job["child_pid"])
        thaw(frozen)
        campaign.recovered(strike)
    campaign.finish(120)


def test_parent(arena: Arena, ledger: Ledger) -> None:
    campaign = Campaign(arena, ledger, "kill -9 of a worker's parent")
    for turn in range(6):
        campaign.submit(30, steps=4, seconds=0.1)
        job, frozen = arena.frozen(campaign.title, node=f"light-{turn % 2}")
        strike = campaign.strike("start", job["id"])
        kill(parent_of(job["child_pid"]))
        thaw(frozen)
        campaign.recovered(strike)
        assert gone(job["child_pid"]), "its child must not outlive it"
    campaign.finish(120)


def test_api(arena: Arena, ledger: Ledger) -> None:
    """Calibrations over HTTP from two clients, while the API is killed under them."""
    campaign = Campaign(arena, ledger, "kill -9 of the API")
    over = threading.Event()

    def submit(client: binnacle.Client) -> None:
        while not over.is_set():
            made = client.calibrate(TINY, prompts=PROMPTS[:2], max_new_tokens=8, name=campaign.title)
            campaign.told.append(made["id"])
            over.wait(0.4)

    with binnacle.Client(arena.up.url, arena.up.key) as one, binnacle.Client(arena.up.url, arena.up.key) as two:
        threads = [threading.Thread(target=submit, args=(client,)) for client in (one, two)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            over.wait(2)
            pid = arena.api_pid()
            strike = campaign.strike("submission")
            kill(pid)
            campaign.recovered(strike)
        over.set()
        for thread in threads:
            thread.join(90)
            assert not thread.is_alive()
    campaign.finish(180)


def test_database(arena: Arena, ledger: Ledger) -> None:
    campaign = Campaign(arena, ledger, "kill -9 of the embedded database")
    for _ in range(5):
        campaign.submit(30, steps=4, seconds=0.1)
        arena.victim(campaign.title)
        strike = campaign.strike()
        kill(arena.up.postmaster)
        campaign.recovered(strike)
    campaign.finish(150)


def test_broker(arena: Arena, ledger: Ledger) -> None:
    """Killed while every worker is idle, and a job is submitted before it is back: a busy worker would not notice."""
    campaign = Campaign(arena, ledger, "kill -9 of the embedded broker")
    for _ in range(5):
        pid = arena.broker_pid()
        kill(pid)
        arena.until(lambda pid=pid: gone(pid), 10, "the broker to be dead")
        dead = datetime.now(UTC)
        first = campaign.submit(1, steps=2, seconds=0.1)[0]
        strike = campaign.strike("start", first, at=dead)
        campaign.submit(19, steps=2, seconds=0.1)
        campaign.recovered(strike)
        arena.until(lambda: campaign.ended() == len(campaign.told), 60, "the jobs of this turn to end")
    campaign.finish(90)


def test_everything(arena: Arena, ledger: Ledger) -> None:
    """`binnacle up` itself, and with it all that it started; then it is started again."""
    campaign = Campaign(arena, ledger, "kill -9 of binnacle up, and a new start")
    for _ in range(2):
        campaign.submit(50, steps=4, seconds=0.1)
        arena.victim(campaign.title)
        strike = campaign.strike()
        assert arena.up.process
        arena.up.process.send_signal(signal.SIGKILL)
        arena.up.process.wait(10)
        arena.until(lambda: not arena.up.everything(), 40, "everything to die with it")
        arena.start()
        campaign.recovered(strike)
    campaign.finish(150)


def test_poison(arena: Arena, ledger: Ledger) -> None:
    campaign = Campaign(arena, ledger, "a job that kills its worker every time")
    campaign.submit(40, steps=2, seconds=0.05)
    campaign.poison = set(campaign.submit(3, do="die"))
    campaign.submit(60, steps=2, seconds=0.05)
    found = campaign.finish(180)
    assert found.poison == 3


def test_hung(arena: Arena, ledger: Ledger) -> None:
    """A handler that lives but never reports: each hangs once, and is killed when its phase has stood still for `stall` seconds."""
    campaign = Campaign(arena, ledger, "a hung handler")
    for n in range(6):
        campaign.submit(1, do="deaf", at=1, steps=3, stall=5, hang_seconds=600, count_in=str(arena.folder / f"hung-{n}"))
        campaign.submit(15, steps=2, seconds=0.1)
    campaign.finish(240)
    hung = arena.sql("SELECT attempt FROM jobs WHERE name = %s AND spec ->> 'do' = 'deaf'", campaign.title)
    assert [row["attempt"] for row in hung] == [2] * 6


def test_starved(arena: Arena, ledger: Ledger) -> None:
    """A native call holds the interpreter lock: for half a lease that is harmless; for longer the child is killed before its lease ends."""
    campaign = Campaign(arena, ledger, "heartbeat starved for longer than a lease")
    short = campaign.submit(2, do="hang", hang_seconds=30, steps=2)
    campaign.submit(2, do="hang", at=1, hang_seconds=600, steps=3, count_in=str(arena.folder / "starved"), times=2)
    campaign.submit(80, steps=2, seconds=0.05)
    campaign.finish(300, note="two more, starved for half a lease, were not disturbed")
    rows = arena.sql("SELECT attempt, losses FROM jobs WHERE id = ANY(%s)", short)
    assert [(row["attempt"], row["losses"]) for row in rows] == [(1, 0)] * 2
