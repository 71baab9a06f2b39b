"""The commands of the command line do what they say, for people and for scripts (`--json`), against the real application.

A few tests start real processes; the others call the same entry point in this process, which is faster.
"""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.models.repository import keep_passport
from binnacle import BinnacleError, Client
from tests.api import lives
from tests.api.conftest import FACTS, PEPPER, Running
from tests.client.commands import run_here

Sessions = sessionmaker[Session]
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(api: Running, tmp_path: Path) -> dict[str, str]:
    """Environment variables of an administrator on the machine that runs the service."""
    return {
        **os.environ,
        "BINNACLE_URL": api.url,
        "BINNACLE_KEY": api.key("root", "admin"),
        "BINNACLE_HOME": str(tmp_path / "home"),
        "BINNACLE_KEY_PEPPER": PEPPER,
        "DATABASE_URL": api.settings.database_url.get_secret_value(),
        "STORAGE_URL": api.settings.storage_url.get_secret_value(),
        "BROKER_URL": api.settings.broker_url.get_secret_value(),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }


@pytest.fixture
def binnacle(environment: dict[str, str], tmp_path: Path) -> Cli:
    """Runs one command within this process, in a temporary folder; keyword arguments override variables."""
    return lambda *arguments, **changed: run_here(arguments, {**environment, **changed}, tmp_path)


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Cli:
    """Like `binnacle`, in a new process."""

    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", *arguments]
        return subprocess.run(
            command, env={**environment, **changed}, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def read(done: subprocess.CompletedProcess[str]) -> Any:
    """The JSON that the command printed; it must have succeeded."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_job_from_submission_to_its_file(binnacle: Cli, process: Cli, api: Running, sessions: Sessions, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("Name a river.\n\nExplain a lock.\n")
    submitted = process("submit", "calibrate", "demo", "--prompts", "prompts.txt", "--layers", "0,2-3", "--name", "mine")
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()
    job = read(binnacle("jobs", "--json"))[0]
    assert (job["id"], job["name"]) == (job_id, "mine")
    assert job["spec"]["prompts"] == ["Name a river.", "Explain a lock."]
    assert job["spec"]["layers"] == [0, 2, 3]
    lives.succeed(sessions, api.context.storage, lives.claim(sessions))
    assert "succeeded" in process("watch", job_id).stderr
    [path] = read(binnacle("get", job_id, "--out", "results", "--json"))
    assert (tmp_path / path).read_bytes() == lives.FILE
    calibration = read(binnacle("watch", job_id, "--json"))["result"]["calibration"]["id"]
    assert read(binnacle("get", calibration, "--json")) == [f"{job_id}/calibration.json"]
    assert job_id in binnacle("jobs", "--state", "succeeded").stdout


def test_a_calibration_is_shown_and_placed_where_trait_interp_looks(
    binnacle: Cli, environment: dict[str, str], api: Running, sessions: Sessions, tmp_path: Path
) -> None:
    """Two variants of one experiment lie side by side; a second file for one place is refused and the first stays."""
    asked = ("submit", "calibrate", "demo", "--experiment", "gemma", "--model-variant", "base")
    base = read(binnacle(*asked, "--json"))
    assert (base["spec"]["experiment"], base["spec"]["model_variant"]) == ("gemma", "base")
    lives.succeed(sessions, api.context.storage, lives.claim(sessions), data=lives.calibration_file("gemma", "base"))
    with Client(api.url, environment["BINNACLE_KEY"]) as client:
        chat = client.calibrate("demo", experiment="gemma")
        data = lives.calibration_file("gemma", "chat", dim=5)
        lives.succeed(
            sessions, api.context.storage, lives.claim(sessions), {"calibration": lives.SUMMARY | {"model_variant": "chat"}}, data
        )
        [found] = client.calibrations(experiment="gemma", model_variant="chat")
        assert (found["job"], found["model_variant"]) == (chat["id"], "chat")
        assert [one["job"] for one in client.calibrations(experiment="gemma")] == [chat["id"], base["id"]]
        assert client.place_calibration(base["id"], tmp_path, model_variant="chat") == client.place_calibration(
            base["id"], tmp_path, model_variant="chat"
        )
        with pytest.raises(BinnacleError, match="place_taken"):
            client.place_calibration(chat["id"], tmp_path)
        assert client.place_calibration(chat["id"], tmp_path, overwrite=True).read_bytes() == data
        with pytest.raises(BinnacleError, match="bad_folder"):
            client.place_calibration(chat["id"], tmp_path, experiment="..")
    [path] = read(binnacle("get", base["id"], "--layout", "trait-interp", "--json"))
    assert path == "experiments/gemma/inference/base/massive_activations/calibration.json"
    assert (tmp_path / path).read_bytes() == lives.calibration_file("gemma", "base")
    assert [job["id"] for job in read(binnacle("jobs", "--experiment", "gemma", "--model-variant", "base", "--json"))] == [
        base["id"]
    ]
    for shown in (binnacle("show", found["id"]), binnacle("watch", chat["id"])):
        assert shown.returncode == 0, shown.stderr
        for said in (
            "severe, at every token",
            "ratio_to_median",
            "412",
            "massive dims (ratio10-3layers)",
            "5 (412x)",
            "not measured",
        ):
            assert said in shown.stdout


def test_options_override_the_fields_of_a_spec_file(binnacle: Cli, tmp_path: Path) -> None:
    """For extractions and steerings; a list or an absent file is refused."""
    (tmp_path / "more.json").write_text(json.dumps({"methods": ["lda"], "refits": 2, "resamples": 0}))
    asked = ("demo", "refusal", "--method", "probe", "--method", "mean_diff_top1", "--layers", "2-3", "--spec", "more.json")
    plan = read(binnacle("submit", "extract", *asked, "--dry-run", "--json"))
    shown = binnacle("submit", "extract", *asked, "--dry-run").stdout
    assert len(shown.splitlines()) <= 5, shown
    assert plan["arithmetic"] in shown
    assert "not known yet: too few jobs" in shown
    assert (plan["spec"]["layers"], plan["spec"]["resamples"]) == ([2, 3], 0)
    job = read(binnacle("submit", "extract", *asked, "--json"))
    assert job["spec"]["methods"][:2] == ["probe", "mean_diff_top1"]
    steering = read(
        binnacle("submit", "steer", "demo", "refusal", "--method", "probe", "--extraction", job["id"], "--budget", "3", "--json")
    )
    assert steering["spec"]["budget"] == 3
    assert job["id"] in steering["waiting_for"]
    (tmp_path / "list.json").write_text("[1]")
    refused = binnacle("submit", "extract", "demo", "refusal", "--spec", "list.json")
    assert (refused.returncode, "bad_spec" in refused.stderr) == (1, True)


def test_watch_redraws_one_line_on_a_terminal(
    environment: dict[str, str], api: Running, sessions: Sessions, tmp_path: Path
) -> None:
    """The results still go to stdout as plain text."""
    with Client(api.url, environment["BINNACLE_KEY"]) as client:
        job_id = client.calibrate("demo")["id"]
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "app.cli", "watch", job_id]
    seen = {**environment, "TERM": "xterm", "COLUMNS": "120"}
    watching = subprocess.Popen(command, env=seen, stderr=its_end, stdout=subprocess.PIPE, text=True)
    os.close(its_end)
    drawn = b""
    while b"position 1" not in drawn:
        drawn += os.read(terminal, 4096)
    lives.succeed(sessions, api.context.storage, lives.claim(sessions))
    with contextlib.suppress(OSError):  # a terminal with a closed other end gives an error
        while chunk := os.read(terminal, 4096):
            drawn += chunk
    os.close(terminal)
    stdout, _ = watching.communicate(timeout=120)
    assert watching.returncode == 0
    assert b"\x1b[" in drawn
    assert b"succeeded" in drawn
    assert f"binnacle get {job_id}" in stdout


def test_a_job_that_fails_ends_the_watch_with_its_reason(binnacle: Cli, sessions: Sessions) -> None:
    job_id = binnacle("submit", "calibrate", "demo").stdout.strip()
    lives.fail(sessions, lives.claim(sessions))
    watched = binnacle("watch", job_id)
    assert watched.returncode == 1
    assert "It broke. Mend it." in watched.stderr
    again = binnacle("retry", job_id).stdout.strip()
    assert again not in ("", job_id)
    assert binnacle("cancel", again).stdout == f"{again} cancelled\n"
    assert binnacle("get", again).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("submit", "calibrate", "nope"), "unknown_model", "demo"),
        (("submit", "calibrate", "demo", "--layers", "2-x"), "bad_layers", "0,4,8-11"),
        (("submit", "calibrate", "demo", "--layers", "0-9999999999"), "bad_layers", "numbers below 10,000"),
        (("submit", "calibrate", "demo", "--prompts", "none.txt"), "unreadable_file", "none.txt"),
        (("get", "job_00000000000000000000000000"), "not_found", "job_0"),
        (("keys", "create", "ada", "--role", "king"), "bad_role", "member"),
    ],
)
def test_an_error_is_one_line_with_a_hint_and_json_for_scripts(
    binnacle: Cli, arguments: tuple[str, ...], code: str, hint: str
) -> None:
    said = binnacle(*arguments)
    assert said.returncode == 1
    assert said.stdout == ""
    assert said.stderr.startswith(f"error: {code}: ")
    assert hint in said.stderr
    assert len(said.stderr.splitlines()) == 1
    for_scripts = json.loads(binnacle(*arguments, "--json").stderr)
    assert for_scripts["code"] == code


def test_without_a_running_service_the_error_names_binnacle_up(process: Cli) -> None:
    said = process("jobs", BINNACLE_URL="", BINNACLE_KEY="")
    assert said.returncode == 1
    assert "binnacle up" in said.stderr


def test_a_faulty_model_is_reported_with_its_fault(binnacle: Cli, api: Running) -> None:
    api.add_model("torn", state="faulty", fault={"code": "no_weights", "detail": "The folder holds no .safetensors file."})
    shown = binnacle("models", "show", "torn")
    assert shown.returncode == 1
    assert "no .safetensors" in shown.stderr
    listed = {model["name"]: model["state"] for model in read(binnacle("models", "list", "--json"))}
    assert listed == {"demo": "ready", "torn": "faulty"}
    assert "faulty" in binnacle("models", "list").stdout


def test_a_model_is_shown_with_sizes_in_gib_and_the_sentence_of_each_proof(binnacle: Cli, api: Running) -> None:
    """Raw byte counts and inodes are left out. A model without proofs is listed as unproven."""
    size = 3 << 30
    stamp = {"name": "model.safetensors", "size": size, "mtime_ns": 1, "inode": 987654321}
    facts = FACTS | {"bytes": size, "n_parameters": 1_610_612_736, "dtype": "bfloat16", "files": [stamp]}
    found = lives.passport("limited")
    with api.sessions.begin() as session:
        keep_passport(session, found["key"], found["content"], found["passport"])
    api.add_model("whole", facts=facts, passport=found["key"])
    shown = binnacle("models", "show", "whole").stdout
    for said in (
        "3.00 GiB, bfloat16",
        "1,610,612,736",
        "limited",
        "paths agree",
        "1e-07 relative",
        "It limited. Do this.",
        "ready",
    ):
        assert said in shown, (said, shown)
    assert str(size) not in shown
    assert str(stamp["inode"]) not in shown
    assert "unproven" in binnacle("models", "show", "demo").stdout
    assert [line.split()[:3] for line in binnacle("models", "list").stdout.splitlines()[1:]] == [
        ["demo", "ready", "unproven"], ["whole", "ready", "limited"],
    ]  # fmt: skip


def test_a_key_made_here_opens_the_service_until_it_is_revoked(binnacle: Cli, api: Running) -> None:
    made = read(binnacle("keys", "create", "grace", "--role", "member", "--days", "7", "--json"))
    mine = read(binnacle("status", "--json", BINNACLE_KEY=made["key"]))
    assert mine["workers"] == []
    listed = {key["id"]: key for key in read(binnacle("keys", "list", "--json"))}
    assert listed[made["id"]]["expires_at"] is not None
    assert made["key"] not in binnacle("keys", "list").stdout
    assert binnacle("keys", "revoke", made["id"]).returncode == 0
    assert "There is no key" in binnacle("keys", "revoke", "00000000").stderr
    assert {key["id"]: key for key in read(binnacle("keys", "list", "--json"))}[made["id"]]["revoked_at"] is not None


def test_a_watch_that_is_interrupted_says_that_the_job_continues(
    binnacle: Cli, environment: dict[str, str], tmp_path: Path
) -> None:
    job = binnacle("submit", "calibrate", "demo").stdout.strip()
    command = [sys.executable, "-m", "app.cli", "watch", job]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline().startswith("queued")
        watching.send_signal(signal.SIGINT)
        said = watching.stderr.read()
    assert watching.returncode == 130
    assert said.splitlines()[-1] == f"{job} continues. Watch it again: binnacle watch {job}. Stop it: binnacle cancel {job}"


def test_status_shows_the_queue(binnacle: Cli) -> None:
    assert "nothing is queued" in binnacle("status").stdout
    binnacle("submit", "calibrate", "demo")
    assert "demo" in binnacle("status").stdout


def test_preparing_twice_keeps_the_first_key(binnacle: Cli, empty_database_url: str, tmp_path: Path) -> None:
    """Compose runs it at every start."""
    key_file = tmp_path / "home" / "admin.key"
    assert binnacle("prepare", DATABASE_URL=empty_database_url).returncode == 0
    first = key_file.read_text()
    assert binnacle("prepare", DATABASE_URL=empty_database_url).returncode == 0
    assert key_file.read_text() == first
    assert key_file.stat().st_mode & 0o077 == 0
    assert binnacle("prepare", "--url", "http://127.0.0.1:9", DATABASE_URL=empty_database_url).returncode == 0
    assert (key_file.with_name("url").read_text(), key_file.read_text()) == ("http://127.0.0.1:9\n", first)
    assert "openssl" in binnacle("prepare", DATABASE_URL=empty_database_url, BINNACLE_KEY_PEPPER="").stderr


def test_prepare_makes_no_admin_key_when_keys_are_off(binnacle: Cli, empty_database_url: str, tmp_path: Path) -> None:
    """Such a key would open the service once keys are switched on."""
    done = binnacle("prepare", DATABASE_URL=empty_database_url, BINNACLE_AUTH="off")
    assert (done.returncode, "keys are off" in done.stdout) == (0, True), done.stderr
    assert not (tmp_path / "home" / "admin.key").exists()


def test_the_doctor_reports_healthy_parts_and_faults(binnacle: Cli, tmp_path: Path) -> None:
    found = {finding["about"]: finding for finding in json.loads(binnacle("doctor", "--json").stdout)}
    assert [found[about]["level"] for about in ("python", "torch", "database", "broker", "storage")] == ["ok"] * 5
    assert found["service"]["level"] == "fault"  # it answers, but no worker has ever reported
    assert found["model demo"]["level"] == "ok"
    (tmp_path / "file").write_text("in the way")
    broken = binnacle(
        "doctor",
        DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:1/none",
        BROKER_URL="redis://127.0.0.1:1/0",
        STORAGE_URL=f"file://{tmp_path}/file",
    )
    assert broken.returncode == 1
    assert broken.stdout.count("fault") >= 4


def test_the_description_of_the_api_needs_no_service(binnacle: Cli) -> None:
    assert "/v1/calibrations" in read(binnacle("openapi", BINNACLE_URL=""))["paths"]


def test_keys_users_groups_and_sharing_are_managed_and_audited(binnacle: Cli) -> None:
    """The commands an administrator types on the first day, and the audit entries they leave."""
    old = read(binnacle("keys", "create", "ada", "--scope", "read", "--scope", "submit", "--label", "laptop", "--json"))
    new = read(binnacle("keys", "rotate", old["id"], "--overlap-hours", "2", "--json"))
    assert [key["owner"] for key in read(binnacle("keys", "list", "--owner", "ada", "--live", "--json"))] == ["ada", "ada"]
    ada = {"BINNACLE_KEY": new["key"]}
    assert binnacle("groups", "create", "interp").returncode == 0
    assert binnacle("groups", "add", "interp", "ada").returncode == 0
    assert "ada" in binnacle("groups", "list").stdout
    assert "interp" in binnacle("users", "list").stdout
    me = binnacle("whoami", **ada).stdout
    assert me == f"ada (member), key {new['id']}: read, submit; in interp\n"
    job = binnacle("submit", "calibrate", "demo", **ada).stdout.strip()
    assert read(binnacle("share", job, "--public", "--json", **ada))["visibility"] == "public"
    assert "bad_option" in binnacle("share", job, "--public", "--private", **ada).stderr
    assert binnacle("users", "disable", "ada").returncode == 0
    assert "disabled" in binnacle("keys", "create", "ada").stderr
    first = read(binnacle("keys", "create", "eve", "--role", "member", "--json"))
    assert f"a key with the role member. If the new key replaces it, run: binnacle keys revoke {first['id']}" in (
        binnacle("keys", "create", "eve", "--role", "viewer").stderr
    )
    found = {entry["action"]: entry for entry in read(binnacle("audit", "--json"))}
    assert found["key.rotate"]["actor"].startswith("cli:")
    assert (found["user.disable"]["actor"], found["user.disable"]["object"]) == ("root", "ada")
    assert found["visibility.set"]["object"] == job
    assert "key.rotate" in binnacle("audit", "--action", "key").stdout


def test_help_imports_no_heavy_module_and_lists_the_server_commands() -> None:
    """One standard module, importlib.metadata, once took half of the time of `--help`."""
    program = "import sys; sys.argv = ['binnacle', '--help']; import binnacle.cli\ntry: binnacle.cli.main()\nfinally: print(*sys.modules)"
    said = subprocess.run([sys.executable, "-S", "-c", _with_site(program)], capture_output=True, text=True, check=True).stdout
    assert "  watch " in said
    assert "  doctor " in said
    heavy = {"importlib.metadata", "email.message", "dataclasses", "inspect", "typer", "httpx2", "app.settings"}
    assert heavy.isdisjoint(said.splitlines()[-1].split())


def _with_site(program: str) -> str:
    """The program with this environment's packages but without the hooks of editable installs, which import things themselves."""
    return f"import sys; sys.path += {[path for path in sys.path if path]!r}\n{program}"
