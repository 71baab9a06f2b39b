"""Every command answers a wrong STORAGE_URL with a sentence that says what to do, without a traceback and without the key."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.forked import Forking

Said = Callable[..., str]
ROOT = Path(__file__).parents[2]
SECRET = "hunter2hunter2"
COMMANDS = {
    "prepare": ["-m", "app.cli", "prepare"],
    "up": ["-m", "app.cli", "up", "--port", "0", "--device", "cpu"],
    "server": ["-m", "app.server", "--port", "0"],
    "worker": ["-m", "celery", "-A", "workers.celery_app", "worker", "-n", "light-0@here"],
    "doctor": ["-m", "app.cli", "doctor"],
}
ASKING = ("prepare", "up", "doctor")
"""Commands that try the bucket first. Server and worker start without it, as it may come back; /readyz reports it."""


@pytest.fixture
def said(forking: Forking, tmp_path: Path) -> Said:
    """Runs a command, which must fail without a traceback or the key, and returns what it printed."""

    def said(command: str, url: str, *, anew: bool = False) -> str:
        """anew: in a new Python process instead of a fork."""
        given = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BINNACLE_"))}
        given |= {"STORAGE_URL": url, "BINNACLE_HOME": str(tmp_path), "BINNACLE_KEY_PEPPER": "p" * 64}
        if anew:
            done = subprocess.run(
                [sys.executable, *COMMANDS[command]], env=given, cwd=ROOT, capture_output=True, text=True, timeout=120
            )
            return checked(done.returncode, done.stdout + done.stderr)
        status, out, err = forking.run(COMMANDS[command], env=given, folder=tmp_path)
        return checked(status, out + err)

    return said


def checked(status: int, printed: str) -> str:
    """The output of a command that failed, on one line; checks that it holds no traceback and no key."""
    assert status != 0, printed
    assert "Traceback" not in printed
    assert SECRET not in printed
    return " ".join(printed.split())


def s3(bucket: str, endpoint: str) -> str:
    return f"s3://{bucket}?endpoint={endpoint}&access_key_id=operator&secret_access_key={SECRET}"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_invalid_storage_url_is_refused_by_every_command(command: str, said: Said) -> None:
    assert "use file:///folder or s3://bucket/prefix" in said(command, "gs://bucket", anew=True)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (f"s3://operator:{SECRET}@bucket", "must be s3://bucket/prefix"),
        (f"s3://bucket?secret={SECRET}", "unknown option"),
        ("file://objects", "three slashes"),
        ("s3://[bucket", "STORAGE_URL cannot be read (Invalid IPv6 URL)"),
    ],
)
def test_an_invalid_storage_url_is_refused_with_the_right_form(url: str, remedy: str, said: Said) -> None:
    assert remedy in said("prepare", url)


@pytest.mark.parametrize("command", ASKING)
def test_a_missing_bucket_is_named(command: str, s3_endpoint: str, said: Said) -> None:
    printed = said(command, s3("nowhere", s3_endpoint))
    assert "There is no bucket nowhere at" in printed
    assert "STORAGE_URL" in printed


@pytest.fixture
def suspicious(s3_endpoint: str) -> Iterator[str]:
    """The S3 endpoint, with its check of keys switched on."""

    def unchecked(requests: str) -> None:
        """Sets how many requests moto lets pass without a check."""
        httpx2.post(f"{s3_endpoint}/moto-api/reset-auth", content=requests, timeout=120).raise_for_status()

    unchecked("0")
    yield s3_endpoint
    unchecked("inf")


@pytest.mark.parametrize("command", ASKING)
def test_wrong_keys_are_named(command: str, suspicious: str, said: Said) -> None:
    printed = said(command, s3("bucket", suspicious))
    assert "Check the key and its rights on bucket bucket" in printed


@pytest.mark.parametrize("command", ASKING)
def test_an_endpoint_that_does_not_answer_is_named(command: str, said: Said) -> None:
    printed = said(command, s3("bucket", "http://127.0.0.1:9"))
    assert "does not answer" in printed
    assert "Check the endpoint in STORAGE_URL" in printed
