"""A `binnacle demo` that fails says why, exits with 1 and leaves nothing running; one that is interrupted says what becomes of its jobs.
`.ci/run` runs one that succeeds.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.embedded.commands import MARK
from app.embedded.processes import carrying
from app.settings import Settings
from binnacle.address import home_folder
from tests.embedded.running import Up
from tests.services import make_folder

ROOT = Path(__file__).resolve().parent.parent


def run_demo(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", "demo", "--home", str(home), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (("--model", "demo-imagined"), {}, "demo-severe"),
        ((), {"DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/none"}, "database_unreachable"),
    ],
    ids=["a model that is not shipped", "a database that is away"],
)
def test_a_demo_that_cannot_end_well_says_why_and_stops_everything(
    arguments: tuple[str, ...], environment: dict[str, str], reason: str
) -> None:
    home = make_folder() / "data"
    done = run_demo(home, *arguments, **environment)
    assert done.returncode == 1
    assert reason in done.stderr
    assert done.stdout == ""
    assert carrying(f"{MARK}={home}") == []


@pytest.mark.parametrize("named", [None, "elsewhere"])
def test_a_demo_and_the_service_use_the_same_folder(named: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """So `binnacle up` after a demo shows the demo's jobs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BINNACLE_HOME", raising=False)
    if named is not None:
        monkeypatch.setenv("BINNACLE_HOME", str(tmp_path / named))
    assert Settings().home.expanduser() == home_folder() == tmp_path / (named or ".binnacle")


def interrupted_demo(home: Path, study: str) -> tuple[str, str]:
    """What a demo of one model says after Ctrl-C while its study runs, and the study's job. study: the words before the job's id."""
    command = [sys.executable, "-m", "app.cli", "demo", "--home", str(home), "--model", "demo-severe"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        said = ""
        while not (found := re.search(rf"{study}: (job_\w+)\n", said)):
            said += (line := demo.stderr.readline())
            assert line, said
        demo.stderr.readline()  # the study is watched now
        demo.send_signal(signal.SIGINT)
        rest = demo.stderr.read()
    assert demo.returncode == 130, rest
    return rest, found[1]


def typed(command: str) -> str:
    """What a command prints in another terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BINNACLE_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_an_interrupted_demo_says_what_becomes_of_its_study_and_the_next_continues_it() -> None:
    home = make_folder() / "data"
    said, begun = interrupted_demo(home, "study submitted")
    assert f"The service of this run is stopped, and its jobs with it. What they finished is kept in {home}" in said
    assert (hint := re.search(rf"`([^`]*) watch {begun}`", said)), said
    assert carrying(f"{MARK}={home}") == []
    up = Up(home)
    up.start()
    try:
        assert begun in typed(f"{hint[1]} jobs")
        assert (shell := re.search("^shell *(export .*) [(]", up.output(), re.MULTILINE)), up.output()
        assert begun in typed(f"{shell[1]}; binnacle jobs")
        said, continued = interrupted_demo(home, "the study of an earlier demo continues")
        assert continued == begun
        assert "The service was running before and still runs; the jobs continue." in said
        assert up.get("/v1/jobs/" + begun)[1]["state"] in ("queued", "running")
        assert begun in [job["id"] for job in up.get("/v1/jobs")[1]["items"]]
        assert (stop := re.search("Stop the study: (.*)", said)), said
        assert begun in typed(stop[1])
    finally:
        up.stop()
