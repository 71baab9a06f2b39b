"""The README's compose commands in an empty folder, as processes: from `.env` to a calibration, and no secret in sight of `ps`."""

import re
import secrets
import shlex
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from app.embedded.listening import answers_ready
from binnacle import Client
from tests.embedded.running import until
from tests.images.building import Builder
from tests.images.composing import Composed, command_lines, read_compose, read_environment
from tests.images.conftest import ROOT
from tests.services import make_folder

SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "BINNACLE_KEY_PEPPER")
FILL_IN = "# and fill it in"


def readme_commands() -> list[str]:
    """The lines of the README's block about Docker."""
    [block] = re.findall(r"^```sh\n([^`]*?docker compose up[^`]*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return str(block).splitlines()


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder but for the two files that the README's commands begin from."""
    folder = make_folder()
    for name in ("docker-compose.yml", ".env.example"):
        shutil.copy(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def composed(builder: Builder, folder: Path) -> Iterator[Composed]:
    images = {"binnacle-api": builder.build("api"), "binnacle-worker": builder.build("worker")}
    with ExitStack() as opened:
        held = {name: opened.enter_context(socket.socket()) for name in ("api", "metrics", "postgres", "valkey")}
        for one in held.values():
            one.bind(("127.0.0.1", 0))
        ports = {name: one.getsockname()[1] for name, one in held.items()}
    (folder / "work").mkdir()
    (folder / "work").chmod(0o711)
    composed = Composed(folder, images, folder / "work", ports)
    yield composed
    composed.stop()


@pytest.mark.timeout(400, func_only=True)
def test_the_readmes_commands_lead_to_a_calibration(composed: Composed, folder: Path) -> None:
    for line in readme_commands():
        if line.startswith("docker compose exec "):
            _, _, _, service, *command = shlex.split(line)
            done = composed.execute(service, *command)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}\n{composed.log('api')[-2000:]}"
            assert done.stdout.strip()
        elif line == "docker compose up --detach":
            composed.up()
            until(lambda: answers_ready("127.0.0.1", composed.port), 90, "the api")
        else:
            assert "docker" not in line
            subprocess.run(["sh", "-euc", line], cwd=folder, check=True)
            if line.endswith(FILL_IN):
                fill_in(folder / ".env")
    key = composed.execute("api", "cat", "/var/lib/binnacle/admin.key").stdout.strip()
    assert key.startswith("bnk_")

    def binnacle(*arguments: str) -> str:
        done = composed.execute("api", "binnacle", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    workers = {"model-0@main-gpu0", "light-0@main-light"}
    with Client(f"http://127.0.0.1:{composed.port}", key) as client:
        until(lambda: {worker["id"] for worker in client.status()["workers"]} >= workers, 120, "workers")
    assert all(name in binnacle("status", "--json") for name in workers)
    binnacle("models", "add", "demo-severe", "/models/demo-severe")
    shown = binnacle("submit", "calibrate", "demo-severe", "--max-new-tokens", "4", "--watch")
    assert "succeeded" in binnacle("jobs"), shown
    visible = "\n".join(command_lines(lambda pid: any(pid in tree(one.pid) for one in composed.running.values())).values())
    assert all(word in visible for word in ("app.server", "workers.celery_app", "valkey-server"))
    assert [name for name in SECRETS if read_environment(folder / ".env")[name] in visible] == []


def tree(pid: int) -> set[int]:
    """The process and everything that it started."""
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def fill_in(path: Path) -> None:
    """What a person does: secrets, and the folder of the models."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "it holds secrets"
    text = path.read_text().replace("MODELS_FOLDER=./models", f"MODELS_FOLDER={ROOT / 'shipped' / 'models'}")
    for name in SECRETS:
        assert f"\n{name}=\n" in text
        text = text.replace(f"\n{name}=\n", f"\n{name}={secrets.token_hex(32)}\n")
    path.write_text(text)


def test_a_secret_that_was_not_filled_in_stops_compose(folder: Path) -> None:
    (folder / ".env").write_text((folder / ".env.example").read_text())
    with pytest.raises(ValueError, match=r"POSTGRES_PASSWORD: set it in \.env"):
        read_compose(folder)
