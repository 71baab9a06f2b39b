"""Hostile texts in the database cannot control the terminal: they are printed without styles, links, control characters or new lines.

Every command runs as an administrator against the real service, with the rows of hostile_rows.py.
"""

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from sqlalchemy import update
from typer.main import get_command

from app.jobs.models import Job
from app.jobs.states import State
from binnacle.cli import answers, application, live, output, running, show, tables, tree
from binnacle.cli.terminal import Listing
from binnacle.results import Job as JobView
from tests.api.conftest import PEPPER, Running
from tests.api.world import World
from tests.client.hostile_rows import HOSTILE, MARKUP, deep, fill
from tests.reports.gathering import aggregate

OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Every control character that a terminal obeys, except the line feed; written independently of the product's own list."""
NOT_HERE = {"up", "worker", "prepare", "backup", "restore", "demo", "openapi", "doctor", "study run", "study label"}
"""Commands that are not run here: they run a service or take minutes. The tables of demo, study run and study label are tested below."""
SHOWING = {"watch", "jobs", "status", "models list", "models show", "models inspect", "traits list", "traits show", "devices list",
           "webhooks list", "webhooks log", "vectors list",
           "quotas list", "usage", "keys list", "users list", "groups list", "audit", "gc"}  # fmt: skip
"""Commands that must print the hostile text; of the others only messages and refusals are seen."""


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the tree with its full name, such as `models list`; groups are left out."""
    for part, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, f"{name} {part}".strip())
    if not hasattr(command, "commands"):
        yield name, command


COMMANDS = {
    name: command for name, command in leaves(get_command(application.build(tree.all_commands({})))) if name not in NOT_HERE
}


@pytest.fixture
def world(api: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A service with hostile rows, and an administrator's environment on its machine."""
    world = World(api)
    fill(world)
    for name, value in {
        "BINNACLE_URL": api.url,
        "BINNACLE_KEY": api.key("root", "admin"),
        "BINNACLE_HOME": str(tmp_path),
        "BINNACLE_KEY_PEPPER": PEPPER,
        "DATABASE_URL": api.settings.database_url.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for console in (output.out, output.err):
        monkeypatch.setattr(console, "_width", 20_000)  # a cell that is folded would begin lines
    return world


def run(*arguments: str) -> None:
    """Runs the command within this process. It must end with SystemExit; any other exception would be a traceback for the user."""
    sys.argv = ["binnacle", *arguments]
    with pytest.raises(SystemExit):
        running.run()


def arguments_of(world: World, name: str, command: Any) -> list[str]:
    """The command line of this command, with a hostile object or text for every required argument."""
    job, device = world.get("failed job"), f"a{HOSTILE}"
    known = {
        "job": job, "which": job, "what": job, "name": HOSTILE, "device": device, "user": HOSTILE, "group": HOSTILE, "owner": HOSTILE,
        "trait": world.get("trait"), "model": HOSTILE, "source": HOSTILE, "url": HOSTILE, "key": world.get("key"), "folder": HOSTILE,
        "spec": HOSTILE, "file": HOSTILE, "files": HOSTILE, "prompt": HOSTILE, "result": job, "file_format": HOSTILE,
        "vector": "vec_" + HOSTILE, "study": world.get("study"), "sheet": HOSTILE,
    }  # fmt: skip
    given = [known[one.name] for one in command.params if one.param_type_name == "argument" and one.required]
    options = {
        "gc": ["--older-than", "0.001"],
        "vectors import": ["--model", HOSTILE],
        "vectors steered": ["--coefficient", "1"],
        "delete": ["--dry-run"],
    }  # delete would ask without --dry-run
    return [*name.split(), *given, *options.get(name, [])]


def checked(said: str) -> None:
    """Asserts that the output holds no control character and no line that the hostile text began."""
    assert OBEYED.search(said) is None, ascii(said[:3000])
    assert not any(line.startswith(("FORGED", "]8;")) for line in said.splitlines()), ascii(said[:3000])


def test_no_command_prints_anything_but_text(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runs for people and, where it has the option, with --json, which must give the texts unchanged."""
    with world.api.sessions.begin() as session:
        session.execute(update(Job).values(finished_at="2020-01-01T00:00:00Z").where(Job.state == State.SUCCEEDED))
    for name, command in COMMANDS.items():
        arguments = arguments_of(world, name, command)
        run(*arguments)
        said = capsys.readouterr()
        for stream in (said.out, said.err):
            checked(stream)
        if name in SHOWING:
            assert MARKUP in said.out + said.err, (name, said.out[:2000], said.err[:2000])
        if any(one.name == "as_json" for one in command.params):
            run(*arguments, "--json")
            said = capsys.readouterr()
            checked(said.out + said.err)
            found = said.out or said.err
            assert found.lstrip()[:1] in '[{"', (name, found[:500])
            assert json.loads(found) is not None
            if name in SHOWING and said.out:
                assert HOSTILE[:12] in " ".join(texts(json.loads(said.out))), name


def texts(value: Any) -> Iterator[str]:
    """Every string within a JSON value, names of fields too."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def test_tables_of_studies_and_calibrations_print_only_text() -> None:
    """The tables of `demo`, `study run` and `study label`."""
    rows = [
        {"model": "m", "trait": "t", "method": "probe", "layer": "2", "r": 0.5, "delta": 3.0, "delta_low": 1.0, "delta_high": 5.0}
    ]
    found = {
        "tables": [
            {"id": "methods", "note": "What the numbers are.", "rows": rows},
            {"id": "severity", "rows": [{"model": "m", "verdict": "severe", "dims": "7", "ratio_to_median": 700.0}]},
        ],
        "recommendations": [{"model": "m", "sentence": "Use probe.", "because": "It gains."}],
    }
    hostile = deep(found)
    for table in hostile["tables"]:
        table["id"] = table["id"].removesuffix(HOSTILE)
    calibration = {"aggregate": aggregate() | {"top_dims_by_layer": {"2": [7]}}}
    calibration["aggregate"]["severity"]["verdict"] += HOSTILE
    calibration["aggregate"]["massive_dims"]["rule"] += HOSTILE
    for printed in (tables.study_report(hostile), show.calibration_report(calibration)):
        console = type(output.out)()
        console.file, console.width = io.StringIO(), 20_000
        console.print(printed)
        said = console.file.getvalue()
        checked(said)
        assert said.count(MARKUP) >= 2
    assert "[+1, +5]" in _printed(tables.study_report(found))


def _printed(what: Any) -> str:
    """What the command line's console prints of this, 200 columns wide."""
    console = type(output.out)()
    console.file, console.width = io.StringIO(), 200
    console.print(what)
    return console.file.getvalue()


def test_no_answer_is_cut_and_no_line_of_a_file_ends_in_spaces() -> None:
    text = "word " * 100 + "end"  # longer than the 200 columns
    one = {"system_prompt": None, "prompt": "p", "vector": None, "dose": None, "coefficient": None, "text": text, "finite": True}
    assert _printed(answers.answers_report(cast(Any, [one]))) == f"p\n  unsteered: {text}\n"
    table = Listing("job", "name")
    table.add_row("job_1", "")
    table.add_row("job_22", "a name")
    lines = _printed(table).splitlines()
    assert "  a name" in lines[2]
    assert lines == [line.rstrip() for line in lines]


def test_an_error_of_the_service_prints_as_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    from binnacle import ServiceError

    problem = {
        "code": "x",
        "detail": f"d{HOSTILE}",
        "errors": [{"pointer": HOSTILE, "detail": f"2{HOSTILE}"}],
        "request_id": HOSTILE,
    }
    output.print_error(ServiceError(422, problem), as_json=False)
    said = capsys.readouterr().err
    checked(said)
    assert (said.count("\n"), said.count(MARKUP)) == (1, 4)


def test_watch_on_a_terminal_draws_no_sequence_of_the_job(world: World) -> None:
    """The live line is drawn with control sequences, but none of them comes from the texts of the job."""
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "app.cli", "watch", world.get("failed job")]
    root = str(Path(__file__).resolve().parents[2])
    seen = {**os.environ, "TERM": "xterm", "COLUMNS": "2000", "PYTHONPATH": root}
    watching = subprocess.Popen(command, env=seen, stdout=its_end, stderr=its_end)
    os.close(its_end)
    drawn = b""
    try:
        while chunk := os.read(terminal, 65536):
            drawn += chunk
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert watching.wait(120) == 1
    said = drawn.decode()
    assert "failed" in said
    assert "Traceback" not in said
    assert MARKUP in said
    for sequence in ("\x1b[2J", "\x1b]8", "\u009b", "\u202e", "\u2066", "\x07"):
        assert sequence not in said, ascii(said[-2000:])


def test_a_phase_of_unknown_length_shows_no_percentage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar must not keep the total of the phase before and stand at 0 %."""
    said = io.StringIO()
    monkeypatch.setattr(live, "err", Console(file=said, force_terminal=True, width=100))
    job: dict[str, Any] = dict.fromkeys(("queue_position", "waits_because", "eta_at", "error"))
    job |= {
        "id": "job_1",
        "state": "running",
        "phase": "steering",
        "attempt": 1,
        "losses": 0,
        "progress": {"done": 5, "total": 10, "unit": "runs"},
    }
    with live.Watcher() as watcher:
        watcher(cast(JobView, job))
        watcher._bar.refresh()
        assert " 50%" in said.getvalue()
        watcher(cast(JobView, job | {"phase": "writing", "progress": {"done": 0, "total": 0, "unit": ""}}))
        said.truncate(0)
        watcher._bar.refresh()
    assert "running: writing" in said.getvalue()
    assert "%" not in said.getvalue()


def test_a_queued_job_is_not_shown_at_100_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is queued, its progress counts the jobs it waits for; `queued 100 %  1/1 jobs` would mislead."""
    said = io.StringIO()
    monkeypatch.setattr(live, "err", Console(file=said, width=100))
    job: dict[str, Any] = dict.fromkeys(("waits_because", "eta_at", "error"))
    job |= {"id": "job_1", "state": "queued", "phase": "queued", "attempt": 1, "losses": 0, "queue_position": 1}
    for done in (0, 1):
        live.Watcher()(cast(JobView, job | {"progress": {"done": done, "total": 1, "unit": "jobs"}}))
    assert said.getvalue() == "queued   0 %  0/1 jobs, queue position 1\nqueued  queue position 1\n"


def test_a_time_that_has_passed_is_not_said_to_be_left() -> None:
    now = datetime.now(UTC)
    job: dict[str, Any] = dict.fromkeys(("queue_position", "waits_because", "error"))
    job |= {"state": "running", "phase": "steering", "attempt": 1, "losses": 0, "progress": {"done": 0, "total": 0, "unit": ""}}
    said = [live.remark(cast(JobView, job | {"eta_at": (now + timedelta(minutes=left)).isoformat()}), now) for left in (3, -3)]
    assert said == ["about 3 min left", ""]


def test_a_study_tells_now_and_then_what_its_running_jobs_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own progress, the number of ended jobs, may stand still for minutes."""
    said = io.StringIO()
    monkeypatch.setattr(live, "err", Console(file=said, width=100))
    job: dict[str, Any] = dict.fromkeys(("queue_position", "eta_at", "error"))
    job |= {
        "state": "queued",
        "phase": "waiting",
        "attempt": 0,
        "losses": 0,
        "progress": {"done": 6, "total": 20, "unit": "jobs"},
        "id": "job_1",
    }
    watcher = live.Watcher()
    for pause, doing in (
        (20.0, "reading"),
        (20.0, "searching doses 1 %"),
        (0.0, "searching doses 2 %"),
        (0.0, "searching doses 2 %"),
    ):
        monkeypatch.setattr(live, "REPEAT_SECONDS", pause, raising=False)
        watcher(cast(JobView, job | {"waits_because": {"code": "after_jobs", "detail": f"Running now: steer ({doing})."}}))
    first, second = said.getvalue().splitlines()
    assert first == "waiting for other jobs  30 %  6/20 jobs, Running now: steer (reading)"
    assert second == "waiting for other jobs  30 %  6/20 jobs, Running now: steer (searching doses 2 %)"


def test_only_terminal_py_uses_the_console_of_rich() -> None:
    """All other modules print through its consoles, which do not interpret markup."""
    root = Path(__file__).resolve().parents[2]
    sources = [*(root / "app").rglob("*.py"), *(root / "binnacle").rglob("*.py")]
    found = [
        one.name for one in sources if re.search(r"import .*\bConsole\b|from rich import print|from_markup", one.read_text())
    ]
    assert found == ["terminal.py"]
