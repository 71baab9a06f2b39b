"""Deleting from the command line and from Python: the command lists what goes, with its size, and asks before it deletes."""

import os
import subprocess
import sys

import pytest
from sqlalchemy.orm import Session, sessionmaker

from binnacle import Client, ServiceError
from tests.api.conftest import Running
from tests.api.lives import FILE, claim, succeed
from tests.client.test_cli import Cli, binnacle, environment, read

__all__ = ["binnacle", "environment"]


@pytest.fixture
def jobs(api: Running, binnacle: Cli, sessions: sessionmaker[Session]) -> list[str]:
    """The ids of two finished calibrations of the caller."""
    made = [binnacle("submit", "calibrate", "demo", "--name", "mine").stdout.strip() for _ in range(2)]
    for job in made:
        succeed(sessions, api.context.storage, claim(sessions), data=FILE + job.encode())
    return made


def answered(environment: dict[str, str], said: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command and gives this answer to its question."""
    command = [sys.executable, "-m", "app.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, input=said, capture_output=True, text=True, timeout=120, check=False
    )


def test_delete_lists_what_goes_and_asks_first(binnacle: Cli, environment: dict[str, str], jobs: list[str]) -> None:
    size = f"1 file, 0 vectors, {len(FILE) + 30:,} bytes"  # the fixture appends the id, 30 bytes
    shown = binnacle("delete", *jobs, "--dry-run")
    assert (shown.returncode, shown.stderr.count(size)) == (0, 2)
    assert f"would be deleted: {jobs[0]} (calibrate, mine)" in shown.stderr
    assert [plan["dry_run"] for plan in read(binnacle("delete", *jobs, "--dry-run", "--json"))] == [True, True]
    refused = answered(environment, "n\n", "delete", *jobs)
    assert (refused.returncode, "nothing was deleted" in refused.stderr) == (1, True)
    assert len(read(binnacle("jobs", "--json"))) == 2
    done = answered(environment, "y\n", "delete", jobs[0])
    assert (done.returncode, f"will be deleted: {jobs[0]}" in done.stderr, f"deleted: {jobs[0]}" in done.stderr) == (
        0,
        True,
        True,
    )
    [gone] = read(binnacle("delete", jobs[1], "--yes", "--json"))
    assert gone["deleted"][0]["id"] == jobs[1]
    assert read(binnacle("jobs", "--json")) == []
    missing = binnacle("delete", jobs[0], "--yes")
    assert (missing.returncode, "not_found" in missing.stderr) == (1, True)


def test_a_job_in_use_is_not_deleted_and_its_user_is_named(
    binnacle: Cli, jobs: list[str], client: Client, environment: dict[str, str]
) -> None:
    with Client(environment["BINNACLE_URL"], environment["BINNACLE_KEY"]) as root:
        user = root.calibrate("demo", after=[{"job": jobs[0]}])["id"]
        refused = binnacle("delete", jobs[0], "--yes")
        assert (refused.returncode, "in_use" in refused.stderr, user in refused.stderr) == (1, True, True)
        with pytest.raises(ServiceError) as error:
            root.delete(jobs[0])
        assert error.value.code == "in_use"
        root.cancel(user)
        assert root.delete(jobs[0], dry_run=True)["dry_run"]
        assert root.delete(jobs[0])["deleted"][0]["id"] == jobs[0]
    with pytest.raises(ServiceError) as error:
        client.delete(jobs[1])
    assert error.value.status == 404


def test_a_trait_is_deleted_by_name_and_a_model_is_removed(binnacle: Cli, client: Client, api: Running) -> None:
    dataset = client.trait_dataset("refusal")
    client.add_trait(dataset, "job_like")
    assert client.delete("job_like")["deleted"][0]["kind"] == "trait"
    api.add_model("other")
    assert binnacle("models", "remove", "other").returncode == 0
    assert [model["name"] for model in read(binnacle("models", "list", "--json"))] == ["demo"]
    assert "not_found" in binnacle("models", "remove", "other").stderr
