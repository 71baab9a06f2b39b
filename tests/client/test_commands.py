"""The command line in a terminal: ids are printed whole and may be shortened, a dead server is reported in seconds, Latin-1 works."""

import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from binnacle import BinnacleError, Client, Unreachable
from binnacle.cli.connecting import FIRST_ANSWER
from binnacle.cli.picking import pick
from binnacle.version import VERSION
from tests.api.conftest import Running
from tests.client.wire import Wire

Cli = Callable[..., subprocess.CompletedProcess[str]]
JOB = re.compile(r"job_[0-9a-z]{26}")


@pytest.fixture
def binnacle(api: Running, key: str, tmp_path: Path) -> Cli:
    """Runs one command as ada in a new process."""
    environment = {**os.environ, "BINNACLE_URL": api.url, "BINNACLE_KEY": key, "BINNACLE_HOME": str(tmp_path)}

    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "binnacle", *arguments]
        return subprocess.run(
            command, env={**environment, **changed}, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def on_a_terminal(api: Running, key: str, columns: int, *arguments: str, **changed: str) -> str:
    """Everything that the command writes to a terminal of this width."""
    terminal, its_end = pty.openpty()
    seen = {**os.environ, "BINNACLE_URL": api.url, "BINNACLE_KEY": key, "COLUMNS": str(columns), "TERM": "xterm", **changed}
    command = [sys.executable, "-m", "binnacle", *arguments]
    running = subprocess.Popen(command, env=seen, stdin=its_end, stdout=its_end, stderr=its_end)
    os.close(its_end)
    said = b""
    try:
        while chunk := os.read(terminal, 65536):
            said += chunk
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert running.wait(120) == 0, said.decode(errors="replace")
    return said.decode("latin-1" if "latin" in seen.get("PYTHONIOENCODING", "") else "utf-8")


def test_ids_stay_whole_on_a_narrow_terminal(api: Running, key: str, client: Client) -> None:
    """Ids are there to be copied; the other columns shrink before an id is cut or folded."""
    ids = {client.calibrate("demo", name="a name that is rather long for a table")["id"] for _ in range(3)}
    for columns in (40, 80, 200):
        assert set(JOB.findall(on_a_terminal(api, key, columns, "jobs"))) == ids


def test_a_table_in_a_file_or_a_pipe_is_not_cut(binnacle: Cli, client: Client) -> None:
    job = client.calibrate("demo", name="a name that is long " * 8)
    said = binnacle("jobs").stdout
    assert job["name"].strip() in said
    assert "…" not in said


def test_a_latin_1_terminal_gets_escapes_for_other_characters(api: Running, key: str, client: Client) -> None:
    client.calibrate("demo", name="Zoë reads Ω")
    said = on_a_terminal(api, key, 200, "jobs", PYTHONIOENCODING="latin-1", LC_ALL="C")
    assert "Zoë reads \\u03a9" in said
    assert "Traceback" not in said


def test_cancelling_a_study_says_that_its_report_will_still_be_written(binnacle: Cli, client: Client) -> None:
    job = client.study(["demo"], [])["id"]
    said = binnacle("cancel", job).stdout
    assert said.startswith(f"{job} queued")
    assert "its report will be written from the results so far" in " ".join(said.split())
    assert binnacle("cancel", job).stdout == f"{job} cancelled\n"


def test_an_id_may_be_shortened_and_the_newest_job_is_last(binnacle: Cli, client: Client) -> None:
    first, second = client.calibrate("demo")["id"], client.calibrate("demo")["id"]
    assert binnacle("cancel", "last").stdout == f"{second} cancelled\n"
    length = next(end for end in range(5, 31) if first[:end] != second[:end])
    assert binnacle("cancel", first[:length]).stdout == f"{first} cancelled\n"
    several = binnacle("edit", first[: length - 1], "--name", "x")
    assert several.returncode == 1
    assert "2 ids begin with" in several.stderr
    assert first in several.stderr
    none = binnacle("watch", "job_zzz")
    assert "binnacle jobs" in none.stderr
    assert "Traceback" not in none.stderr


def test_last_is_the_callers_own_job_and_names_are_not_completed(api: Running, client: Client) -> None:
    with api.client("bob") as bob:
        bob.post("/v1/calibrations", json={"model": "demo", "visibility": "public"}).raise_for_status()
    with pytest.raises(BinnacleError, match="no_jobs"):
        pick(client, "last")
    mine = client.calibrate("demo")["id"]
    assert pick(client, "last") == mine
    assert [pick(client, name) for name in ("refusal", "refusal@abc", mine)] == ["refusal", "refusal@abc", mine]
    assert [pick(client, name) for name in ("job", "job_")] == [
        "job",
        "job_",
    ]  # a prefix of every id, as `delete "job_$ID"` gives with ID unset


def test_vectors_are_listed_and_fetched(
    api: Running, binnacle: Cli, client: Client, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    from tests.api.extracted import store_extraction

    store_extraction(sessions, api.context.storage, "ada", client.trait("refusal")["version"])
    vector = next(client.vectors(model="demo"))
    assert vector["id"] in binnacle("vectors", "list", "--model", "demo", "--layer", str(vector["layer"])).stdout
    binnacle("vectors", "get", vector["id"], "--out", "named.gguf")
    assert (tmp_path / "named.gguf").read_bytes()[:4] == b"GGUF", "the ending names the format"
    (tmp_path / "named.gguf").write_text("mine")
    assert "named.gguf holds other content" in binnacle("vectors", "get", vector["id"], "--out", "named.gguf").stderr
    assert (tmp_path / "named.gguf").read_text() == "mine"
    assert binnacle("vectors", "get", vector["id"], "--out", "named.gguf", "--overwrite").returncode == 0
    torn = binnacle("vectors", "get", vector["id"], "--out", "named.npy", "--format", "gguf")
    assert "--out ends in .npy and --format is gguf" in torn.stderr
    got = binnacle("vectors", "get", vector["id"], "--out", "here/", "--format", "npy")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / got.stdout.strip()).stat().st_size > 100
    for source in (vector, vector["id"]):
        path = client.download(source, f"{tmp_path}/")
        assert path.name == f"{vector['id']}.safetensors"
    assert client.load(vector).shape == (vector["width"],)
    with pytest.raises(BinnacleError, match="unknown_format"):
        client.download(vector, f"{tmp_path}/", format="pt")
    job = client.calibrate("demo")
    with pytest.raises(BinnacleError, match="not_downloadable"):
        client.download(job, f"{tmp_path}/")  # type: ignore[arg-type]


@pytest.fixture
def silent() -> Iterator[str]:
    """An address with a full queue of connections: a new connection is neither refused nor accepted."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_an_unreachable_server_is_reported_within_five_seconds(binnacle: Cli, silent: str) -> None:
    """One address refuses connections, the other never answers. The start of the program takes seconds on a slow machine, so it is the
    constant that keeps the promise, and the run shows that the constant counts: by the client's own patience it would take 60 s.
    """
    assert FIRST_ANSWER < 5
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for url in (refusing, silent):
            started = time.monotonic()
            said = binnacle("jobs", BINNACLE_URL=url)
            assert time.monotonic() - started < 50
            assert (said.returncode, said.stderr.count("\n")) == (1, 1)
            assert f"Nothing answers at {url}" in said.stderr


def test_a_service_that_goes_away_after_its_first_answer_is_waited_for(
    wire: Wire, key: str, meanwhile: Callable[..., None]
) -> None:
    """`first_answer` limits the wait for the first answer only; after it, `patience` counts."""
    with Client(wire.url, key, first_answer=0.5, patience=60) as client:
        assert client.me()["owner"] == "ada"
        there, wire.upstream = wire.upstream, None
        wire.cut()
        # away for three times first_answer: a client that still counted it would give up
        meanwhile(lambda: time.sleep(1.5), lambda: setattr(wire, "upstream", there))
        assert client.me()["owner"] == "ada"
    wire.upstream = None
    with Client(wire.url, key, first_answer=0.5, patience=60) as other:
        started = time.monotonic()
        with pytest.raises(Unreachable):
            other.me()
        assert time.monotonic() - started < 20, "`patience` would take 60 s"


def test_version_needs_no_server(binnacle: Cli) -> None:
    assert binnacle("--version", BINNACLE_URL="").stdout == f"binnacle {VERSION}\n"


@pytest.mark.parametrize("entry", ["binnacle.cli", "app.cli"])
@pytest.mark.parametrize("imported", ["binnacle.cli.running", "typer", "httpx2"])
def test_an_interrupt_during_the_imports_ends_the_program_quietly(tmp_path: Path, entry: str, imported: str) -> None:
    (tmp_path / "interrupting.py").write_text(
        "import os, signal, sys\n"
        "from importlib import import_module\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {imported!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        f"main = import_module({entry!r}).main\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "main()\n"
    )
    command = [sys.executable, "interrupting.py", "watch", "last"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    ("words", "at", "offered"), [("binnacle mo", 1, ["models"]), ("binnacle keys r", 2, ["revoke", "rotate"])]
)
def test_a_shell_completes_commands(words: str, at: int, offered: list[str]) -> None:
    """As bash asks, by the installed script; no service is needed."""
    asked = {**os.environ, "_BINNACLE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
    script = Path(sys.executable).with_name("binnacle")
    done = subprocess.run([script], env=asked, capture_output=True, text=True, timeout=60, check=True)
    assert sorted(done.stdout.split()) == offered
