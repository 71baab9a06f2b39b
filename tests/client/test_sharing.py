"""The command line on a shared server: pausing devices, webhooks, removing old results, names and notes of jobs."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from app.devices.models import Worker
from app.jobs import endings
from app.retention import service as retention
from binnacle import Client
from binnacle.cli.live import remark
from tests.api import lives
from tests.api.conftest import Running
from tests.api.receiver import Receiver
from tests.client.test_cli import Cli, binnacle, environment, read
from tests.contract.contents import STUDY

__all__ = ["binnacle", "environment"]


def test_a_device_is_paused_and_resumed_by_a_prefix_of_its_name(binnacle: Cli, api: Running) -> None:
    with api.sessions.begin() as session:
        for name in ("model-0@here", "model-1@here"):
            session.add(Worker(id=name, job_class="model", device="cuda:0", host="here", parent_pid=1, version="1"))
    paused = read(binnacle("devices", "pause", "model-0", "--reason", "my [notebook]", "--minutes", "30", "--json"))
    assert (paused["id"], paused["hold"]["mode"], paused["hold"]["reason"]) == ("model-0@here", "paused", "my [notebook]")
    for shown in (binnacle("devices", "list").stdout, binnacle("status").stdout):
        assert "paused by root until " in shown
        assert "my [notebook]" in shown
    assert binnacle("devices", "drain", "model-0@here").stdout == "model-0@here draining by root\n"
    assert binnacle("devices", "resume", "model-0").stdout == "model-0@here claims jobs\n"
    unsure = binnacle("devices", "pause", "model")
    assert unsure.returncode == 1
    assert "model-0@here, model-1@here" in unsure.stderr


def test_a_lost_worker_is_shown_as_lost_and_an_empty_name_matches_none(binnacle: Cli, api: Running) -> None:
    """`binnacle devices pause "$WORKER"` with the variable unset must not pause the only worker."""
    with api.sessions.begin() as session:
        session.add(Worker(id="model-0@here", job_class="model", device="cuda:0", host="here", parent_pid=1, version="1"))
    unset = binnacle("devices", "pause", "")
    assert (unset.returncode, "error: which_device: No worker is called ''" in unset.stderr) == (1, True)
    with api.sessions.begin() as session:
        session.execute(text("update workers set seen_at = now() - interval '20 minutes'"))
    for shown in ("list", "resume"):
        assert "lost, last seen 20 min ago" in binnacle("devices", shown, *(["model-0"] if shown == "resume" else [])).stdout
    assert "lost, last seen 20 min ago; paused by root" in binnacle("devices", "pause", "model-0").stdout
    assert "lost, last seen 20 min ago; paused by root" in binnacle("status").stdout


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def test_sharing_a_study_says_how_many_jobs_follow_it(binnacle: Cli, api: Running, environment: dict[str, str]) -> None:
    with Client(api.url, environment["BINNACLE_KEY"]) as client:
        study = client.submit("study", **(STUDY | {"models": ["demo"]}))["id"]
        parts = [node["job"] for node in client.nodes(study).values()]
        assert len(parts) > 1
        for option, visibility in (("--public", "public"), ("--private", "private")):
            said = binnacle("share", study, option).stderr
            assert said == f"{study} is {visibility}, and with it {len(parts)} jobs of the study\n"
            assert {client.job(str(part))["visibility"] for part in parts} == {visibility}
        assert binnacle("share", str(parts[0]), "--public").stderr == f"{parts[0]} is public\n"


def test_a_job_that_lost_its_worker_says_why_it_is_attempted_again(api: Running, environment: dict[str, str]) -> None:
    with Client(api.url, environment["BINNACLE_KEY"]) as client:
        submitted = client.calibrate("demo")["id"]
        lease = lives.claim(api.sessions)
        for said in (
            "attempt 2, an earlier attempt was lost with its process",
            "attempt 3, 2 attempts were lost with their processes",
        ):
            with api.sessions.begin() as session:
                job = endings.still_held(session, lease.job.id, lease.token)
                assert job is not None
                endings.lose(session, job, {"code": "killed"}, max_losses=3)
            lease = lives.claim(api.sessions)
            assert remark(client.job(submitted), datetime.now(UTC)).endswith(said)


def test_a_webhook_from_its_secret_to_its_log(binnacle: Cli, receiver: Receiver, api: Running) -> None:
    added = binnacle("webhooks", "add", "room", receiver.url())
    assert added.stdout.startswith("whsec_")
    assert receiver.url() in binnacle("webhooks", "list").stdout
    job_id = binnacle("submit", "calibrate", "demo", "--webhook", "room").stdout.strip()
    assert binnacle("cancel", job_id).returncode == 0
    sent = read(binnacle("webhooks", "log", "--json"))
    assert [(one["webhook"], one["job"]) for one in sent] == [("room", job_id)]
    tested = read(binnacle("webhooks", "test", "room", "--json"))
    assert tested["state"] == "pending"
    assert "test" in binnacle("webhooks", "log").stdout
    assert binnacle("webhooks", "remove", "room").returncode == 0
    assert read(binnacle("webhooks", "list", "--json")) == []


def test_gc_lists_old_results_before_it_removes_them(binnacle: Cli, api: Running) -> None:
    job_id = binnacle("submit", "calibrate", "demo", "--name", "long ago").stdout.strip()
    lives.succeed(api.sessions, api.context.storage, lives.claim(api.sessions))
    with api.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET finished_at = now() - interval '100 days'"))
    shown = binnacle("gc")
    assert job_id in shown.stdout
    assert "100.0 d" in shown.stdout
    assert "nothing was removed yet. Remove them with: binnacle gc --older-than 90 --yes" in shown.stderr
    assert "can be removed" in binnacle("gc", "--older-than", "101").stderr
    assert "removed the results of 1 job, 1 file," in binnacle("gc", "--yes").stderr


def test_gc_says_when_it_lists_only_some_of_the_old_results(binnacle: Cli, api: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists at most `retention.SHOWN` jobs, but counts all."""
    for length in ("7", "8", "9"):
        binnacle("submit", "calibrate", "demo", "--max-new-tokens", length)
        lives.succeed(api.sessions, api.context.storage, lives.claim(api.sessions))
    with api.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET finished_at = now() - interval '100 days'"))
    assert "listed" not in binnacle("gc").stderr
    monkeypatch.setattr(retention, "SHOWN", 2)
    assert "3 jobs (the oldest 2 are listed), 3 files" in binnacle("gc").stderr


def test_a_job_is_renamed_and_found_by_words_of_its_name_and_notes(binnacle: Cli) -> None:
    job_id = binnacle("submit", "calibrate", "demo").stdout.strip()
    other = binnacle("submit", "calibrate", "demo").stdout.strip()
    edited = json.loads(
        binnacle("edit", job_id, "--name", "layer sweep", "--tag", "paper", "--notes", "Figure 2", "--keep", "--json").stdout
    )
    assert (edited["name"], edited["tags"], edited["keep"]) == ("layer sweep", ["paper"], True)
    found = binnacle("jobs", "--search", "figure sweep").stdout
    assert job_id in found
    assert other not in found
