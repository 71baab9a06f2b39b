"""The fault suite in small, for every `make test`: many faults in turn hit two nodes with leases of seconds, and the auditor finds no harm."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from app.embedded.broker import Broker, connect
from app.embedded.postgres import Postgres
from tests.chaos import auditor
from tests.worker.conftest import Node, Service

pytestmark = pytest.mark.chaos
JOBS = 60


@pytest.fixture
def stormy(make_service: Callable[..., Service], own_postgres: Postgres, own_broker: Broker) -> Service:
    return make_service(own_postgres.url, own_broker.url, "s:", ttl=4, margin=1.5)


class Storm:
    """Two worker nodes, and the faults that hit them and their servers."""

    def __init__(self, service: Service, postgres: Postgres, broker: Broker) -> None:
        self.service, self.postgres, self.broker = service, postgres, broker
        self.nodes: dict[str, Node] = {}
        for name in ("light-0", "light-1"):
            self.start(name)

    def start(self, name: str) -> None:
        self.nodes[name] = self.service.node(name, application="tests.chaos.celery_app", CHAOS_STORAGE_ERRORS="0.05")

    def kill_child(self) -> None:
        with contextlib.suppress(AssertionError, psutil.NoSuchProcess):  # it may have none just now, or one that is just ending
            os.kill(self.nodes["light-0"].child(), signal.SIGKILL)

    def kill_parent(self) -> None:
        self.nodes["light-1"].kill()
        self.start("light-1")

    def flush(self) -> None:
        with connect(self.broker.url) as client:
            client.flushall()

    def restart_broker(self) -> None:
        self.broker.kill()
        self.broker.start()

    def restart_database(self) -> None:
        self.postgres.stop()
        self.postgres.start()

    def end_leases(self) -> None:
        with auditor.connect(self.postgres.url) as connection:
            connection.execute("UPDATE jobs SET lease_expires_at = now() - interval '1 hour' WHERE state = 'running'")

    def freeze(self) -> None:
        """A node stands still, parent and child, for longer than its lease."""
        with contextlib.suppress(AssertionError, psutil.NoSuchProcess):  # it may have no child just now
            pids = [self.nodes["light-1"].process.pid, self.nodes["light-1"].child()]
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    os.kill(pid, number)
                time.sleep(self.service.settings.lease.ttl + 1 if number == signal.SIGSTOP else 0)


def test_many_faults_lose_double_and_block_no_job(
    stormy: Service, own_postgres: Postgres, own_broker: Broker, tmp_path: Path
) -> None:
    storm = Storm(stormy, own_postgres, own_broker)
    jobs = [stormy.submit(("ann", "bob")[n % 2], steps=4, seconds=0.1, text=f"job {n}") for n in range(JOBS)]
    with auditor.connect(own_postgres.url) as connection:
        connection.execute("UPDATE jobs SET name = 'storm'")
    faults = [
        storm.kill_child, storm.flush, storm.end_leases, storm.kill_parent, storm.restart_broker, storm.restart_database, storm.freeze,
    ]  # fmt: skip
    for fault in random.Random(7).sample([*faults, storm.kill_child], len(faults) + 1):
        fault()
        time.sleep(0.5)  # so that faults also meet what the last one left, and not all the same moment

    def left() -> int:
        with auditor.connect(own_postgres.url) as connection:
            row = connection.execute("SELECT count(*) AS n FROM jobs WHERE finished_at IS NULL").fetchone()
            return int(row["n"]) if row else 0

    stormy.until(lambda: left() == 0, "the storm's jobs to end", seconds=400)
    with auditor.connect(own_postgres.url) as connection:
        found = auditor.audit(connection, "storm", jobs, objects=tmp_path / "objects")
        assert auditor.setbacks(connection, "storm"), "no fault hit a job"
    assert found == auditor.Audit(jobs=JOBS)
