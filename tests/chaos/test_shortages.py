"""The long suite, 4: a full disk, a store that fails now and then, a device and a host that run out of memory."""

import contextlib
import time
from pathlib import Path

import pytest

import binnacle
from shipped import MODELS
from tests.chaos.arena import Arena, NodePlan
from tests.chaos.campaign import Campaign
from tests.chaos.ledger import Ledger, Line
from tests.chaos.surroundings import Unavailable, joining, memory_group, small_disk
from tests.services import make_folder

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(600)]
TINY = sorted(path.name for path in MODELS.iterdir() if path.is_dir())[0]
PROMPTS = [f"please tell me {n} things about boats and harbours ." for n in range(2, 18)]
MIB = 1 << 20


def test_disk_full(ledger: Ledger) -> None:
    """The disk fills under running jobs; the free space below which none would start is set to 0."""
    title = "disk full in storage for 20 s"
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(make_folder() / "disk", "4m"))
        except Unavailable as why:
            ledger.add(Line(title, not_run=str(why)))
            pytest.skip(f"NOT RUN: {why}")
        arena = Arena(environment={"STORAGE_URL": f"file://{disk}/objects", "BINNACLE_MIN_FREE_BYTES": "0"})
        stack.callback(arena.close)
        campaign = Campaign(arena, ledger, title)
        for _ in range(3):
            campaign.submit(40, steps=3, seconds=0.1)
            arena.victim(title)
            before = _deferrals(arena, title)
            _fill(disk)
            time.sleep(20)  # the length of the shortage that the title names
            assert _deferrals(arena, title) > before, "jobs met the full disk"
            (disk / "ballast").unlink()
            campaign.recovered(campaign.strike())
        campaign.finish(180)


def _deferrals(arena: Arena, title: str) -> int:
    """How often the jobs were put off because storage failed."""
    events = "SELECT e.seq FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.name = %s AND e.type = 'deferred'"
    return len(arena.sql(events, title))


def _fill(disk: Path) -> None:
    """Fills the disk to the last byte."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        for size in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(b"x" * size)


def test_storage_errors(ledger: Ledger) -> None:
    """Half of them strike after the object was stored; a job of a hundred cells meets a dozen, on its way and when it begins again."""
    broken = {"CHAOS_STORAGE_ERRORS": "0.05"}
    arena = Arena([NodePlan("light-0", broken), NodePlan("light-1", broken)])
    try:
        campaign = Campaign(arena, ledger, "5 % random storage errors")
        campaign.submit(200, steps=4, seconds=0.02)
        for n in range(3):
            campaign.submit(1, steps=100, seconds=0.05, do="exit", at=90, count_in=str(arena.folder / f"exits-{n}"))
        campaign.finish(300)
        assert _deferrals(arena, campaign.title) > 0, "some jobs met an error that trying again did not help"
    finally:
        arena.close()


def test_device_memory(ledger: Ledger) -> None:
    """One node's device takes three rows at a time and fails in each way that memory runs out; its bytes are those of the other node."""
    arena = Arena([NodePlan("model-0"), NodePlan("model-1", {"CHAOS_DEVICE_ROWS": "3"}), NodePlan("light-0")])
    try:
        campaign = Campaign(arena, ledger, "out of memory on the device")
        with binnacle.Client(arena.up.url, arena.up.key) as client:
            if TINY not in {model["name"] for model in client.models()}:
                client.add_model(TINY, str(MODELS / TINY))
            client.await_model(TINY, timeout=120)
            for _ in range(40):
                campaign.told.append(client.calibrate(TINY, prompts=PROMPTS, max_new_tokens=16, name=campaign.title)["id"])
        campaign.finish(300, note="real calibrations; those that met it and those that did not left the same bytes")
        digests = arena.sql(
            "SELECT DISTINCT digest FROM artifacts a JOIN jobs j ON j.id = a.job_id WHERE j.name = %s", campaign.title
        )
        assert len(digests) == 1
        halved = arena.sql("SELECT metrics FROM jobs WHERE name = %s AND (metrics ->> 'halvings')::int > 0", campaign.title)
        assert 0 < len(halved) < len(campaign.told), "both nodes had some of the jobs"
    finally:
        arena.close()


def test_host_memory(ledger: Ledger) -> None:
    """The kernel kills the child that fills its control group; a limit on the address space would only make a MemoryError."""
    title = "out of memory on the host"
    with contextlib.ExitStack() as stack:
        try:
            groups = [stack.enter_context(memory_group(384 * MIB)) for _ in range(2)]
        except Unavailable as why:
            ledger.add(Line(title, not_run=str(why)))
            pytest.skip(f"NOT RUN: {why}")
        arena = Arena([NodePlan(f"light-{n}", wrapper=joining(group)) for n, group in enumerate(groups)])
        stack.callback(arena.close)
        campaign = Campaign(arena, ledger, title)
        for n in range(6):
            campaign.submit(1, do="eat", at=1, steps=3, megabytes=600, count_in=str(arena.folder / f"eaten-{n}"))
            campaign.submit(15, steps=2, seconds=0.05)
        campaign.finish(180)
        lost = arena.sql(
            "SELECT data FROM job_events e JOIN jobs j ON j.id = e.job_id WHERE j.name = %s AND e.type = 'lost'", title
        )
        assert [row["data"].get("signal") for row in lost] == ["signal 9 (SIGKILL)"] * 6
