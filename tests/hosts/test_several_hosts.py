"""Workers on hosts of their own run jobs, and a host that loses its network loses no job: another one takes it over."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.lab import Lab
from tests.hosts.network import Host

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
TERMINAL = {"succeeded", "failed", "cancelled"}
LONG = 200
"""Prompts of a calibration of about ten seconds, so that it still runs when its worker is cut off."""


def test_jobs_spread_over_hosts_and_their_results_are_downloaded_to_the_byte(
    lab: Lab, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    jobs = [lab.calibrate(12, tags=[str(n)]) for n in range(6)]
    ended = [lab.ended(job) for job in jobs]
    assert [job["state"] for job in ended] == ["succeeded"] * 6, [job["error"] for job in ended]
    where = Counter(lab.started_by(job)[0] for job in jobs)
    assert set(where) == {"ada", "bob"}
    record_property("jobs", ", ".join(f"{count} on {host}" for host, count in sorted(where.items())))
    [content] = {lab.file(job, tmp_path) for job in ended}  # the same bytes, whichever host computed them
    assert content.startswith(b"{")
    for name in lab.workers:
        assert not list(lab.folder.glob(f"{name}/home/objects/*")), "a worker keeps no objects of its own"


@pytest.fixture(scope="module")
def undisturbed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of the same calibration without a cut."""
    return lab.file(lab.ended(lab.calibrate(LONG)), tmp_path_factory.mktemp("undisturbed"))


class Cut:
    """A running calibration that has just lost its worker: `cut` took the network of host `name`; `other` is the free host."""

    def __init__(self, lab: Lab, cut: Callable[[Host], None]) -> None:
        self.lab = lab
        lab.until(lambda: lab.alive("model") == set(lab.workers), 60, "both workers to be there")
        self.job = lab.calibrate(LONG)
        lab.until(self._in_the_middle, 60, "the job to have made progress")
        [self.name] = lab.started_by(self.job)
        self.host = lab.workers[self.name]
        [self.other] = set(lab.workers) - {self.name}
        assert lab.reached_from(self.host) == ["database", "broker", "objects"]
        self.began = time.monotonic()
        cut(self.host)
        assert lab.reached_from(self.host) == [], "it is cut off from everything"
        assert lab.started_by(self.job) == [self.name], "it was cut off before the other host could begin"

    def taken_over(self) -> float:
        """Waits until the other host has begun the job; returns the seconds since the cut."""
        self.lab.until(lambda: self.lab.started_by(self.job) == [self.name, self.other], 120, "the other host to begin")
        return time.monotonic() - self.began

    def stopped_by_itself(self) -> bool:
        """Whether the log of the cut host says that its child gave the job up, or that its parent stopped the child."""
        said = self.lab.log(self.name)
        return f'"job": "{self.job}"' in said and any(
            f'"event": "{event}"' in said for event in ("job.lease_lost", "child.signalled")
        )

    def back(self) -> None:
        """Waits until the database has heard from both nodes of the host again, and 3 s more, in which they might write."""
        for job_class in ("model", "light"):
            self.lab.until(lambda c=job_class: self.name in self.lab.alive(c), 120, f"{self.name} to be back")  # type: ignore[misc]
        time.sleep(3)  # that a node will not write cannot be waited for; what it had held back is written at once when it is back

    def _in_the_middle(self) -> bool:
        [row] = self.lab.rows("SELECT state, progress_done, phase FROM jobs WHERE id = %s", self.job)
        return row["state"] == "running" and row["progress_done"] > 0


def succeeded_once(lab: Lab, job: str, undisturbed: bytes, folder: Path) -> None:
    """Asserts that the job has two starts, one loss, one ending, and one file with the bytes of a run without a cut."""
    ended = lab.ended(job)
    assert ended["state"] == "succeeded", ended["error"]
    types = [row["type"] for row in lab.written(job)["job_events"]]
    assert (types.count("started"), types.count("lost")) == (2, 1)
    assert [kind for kind in types if kind in TERMINAL] == ["succeeded"]
    assert types[-1] == "succeeded"
    assert len(lab.written(job)["artifacts"]) == len(ended["artifacts"]) == 1
    assert lab.file(ended, folder) == undisturbed


def test_a_host_is_silently_cut_off_another_finishes_and_it_writes_nothing_when_it_is_back(
    lab: Lab, undisturbed: bytes, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The network comes back after the other host has finished."""
    cut = Cut(lab, Host.drop)
    record_property("taken over after", f"{cut.taken_over():.0f} s")
    succeeded_once(lab, cut.job, undisturbed, tmp_path)
    lab.until(cut.stopped_by_itself, 90, "the cut host to give the job up")
    written = lab.written(cut.job)
    cut.host.carry()
    cut.back()
    assert lab.written(cut.job) == written


@pytest.mark.long
def test_a_hosts_link_goes_down_and_comes_up_while_another_runs_its_job(
    lab: Lab, undisturbed: bytes, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    cut = Cut(lab, Host.link_down)
    record_property("taken over after", f"{cut.taken_over():.0f} s")
    cut.host.link_up()
    cut.back()
    succeeded_once(lab, cut.job, undisturbed, tmp_path)
    lab.until(cut.stopped_by_itself, 90, "the cut host to give the job up")
    token = lab.rows("SELECT lease_token FROM jobs WHERE id = %s", cut.job)[0]["lease_token"]
    assert token == 2, "only the two hosts that started it held its lease"


@pytest.mark.long
def test_a_host_takes_jobs_again_after_the_servers_closed_its_connections(
    lab: Lab, record_property: Callable[[str, object], None]
) -> None:
    """After a long cut the servers have closed its connections, and the host did not get their packets about it."""
    lab.until(lambda: lab.alive("model") == set(lab.workers), 60, "both workers to be there")
    host = lab.workers["ada"]
    assert lab.connections_from(host) > 0
    assert lab.bells_heard_by(host) > 0
    host.drop()
    began = time.monotonic()
    lab.servers.forget(host, 6379)  # by itself the broker takes five minutes
    lab.until(lambda: lab.bells_heard_by(host) == 0, 10, "the broker to have forgotten the host")
    lab.until(lambda: lab.connections_from(host) == 0, 100, "the database to give its connections up")
    record_property("its connections given up after", f"{time.monotonic() - began:.0f} s")
    assert lab.stop_worker("bob") == 0
    try:
        job = lab.calibrate(1)
        host.carry()
        began = time.monotonic()
        assert lab.ended(job, 120)["state"] == "succeeded"
        assert lab.started_by(job) == ["ada"]
        record_property("taking jobs again after", f"{time.monotonic() - began:.0f} s")
    finally:
        lab.start_worker("bob")
