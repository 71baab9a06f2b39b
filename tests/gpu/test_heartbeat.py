"""Loading a large model must not keep the heartbeat from renewing the lease: copies to the device hold the interpreter for long."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ml.tiny_models import tiny_model_folder
from tests.worker.conftest import Service
from tests.worker.looking import register


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_lease_is_renewed_in_time_while_a_large_model_loads(
    make_service: Callable[..., Service],
    database_url: str,
    broker_url: str,
    broker_prefix: str,
    tmp_path: Path,
    card: dict[str, str],
) -> None:
    """A model of some 4 GB. Renewals are due every third of a lease; the longest pause seen must leave the margin whole."""
    live = make_service(database_url, broker_url, broker_prefix, ttl=12, margin=4)
    folder = tiny_model_folder(tmp_path, "llama", hidden_size=4096, intermediate_size=14336, head_dim=1024)
    job_id = register(live, folder)()
    live.node("model-0", **card)
    live.running(job_id)
    renewed, gaps, last = None, [], time.monotonic()
    while live.job(job_id).state == "running":
        now, until = time.monotonic(), live.job(job_id).lease_expires_at
        if until != renewed:
            gaps.append(now - last)
            renewed, last = until, now
        time.sleep(0.05)
    job = live.ended(job_id, seconds=300)
    assert (job.state, job.attempt, job.losses) == ("succeeded", 1, 0)
    assert max(gaps) < live.settings.lease.ttl - live.settings.lease.margin
