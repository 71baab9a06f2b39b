"""The API image and the worker image start, and the compose commands of the README lead to a calibration without a secret in `ps`.

No Docker is needed: see building.py and composing.py. One file holds all tests, so that one test process builds the images, which takes longest.
"""

import re
import secrets
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import httpx2
import psutil
import pytest

from app.embedded.listening import answers_ready
from binnacle import Client
from tests.embedded.running import until
from tests.images.building import Builder, Image
from tests.images.composing import Composed, command_lines, read_compose, read_environment
from tests.images.conftest import ROOT
from tests.images.dockerfile import Ignored, copy_context, read_stages
from tests.ports import unused_ports
from tests.services import make_folder

IMPORT_ALL = """
import importlib, pkgutil, sys
for name in {packages}:
    package = importlib.import_module(name)
    assert package.__path__[0].startswith({root!r}), f"{{name}} is from {{package.__path__[0]}}"
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*sys.modules)
"""


def test_the_api_image_serves(
    builder: Builder, empty_database_url: str, broker_url: str, tmp_path: Path, unused_port: int
) -> None:
    image = builder.build("api")
    given = {
        "DATABASE_URL": empty_database_url,
        "BROKER_URL": broker_url,
        "STORAGE_URL": f"file://{tmp_path}/objects",
        "BINNACLE_HOME": str(tmp_path / "data"),
        "BINNACLE_KEY_PEPPER": "a pepper of forty characters for tests!!",
    }
    prepared = image.run("binnacle", "prepare", **given)
    assert prepared.returncode == 0, prepared.stderr
    command = [{"0.0.0.0": "127.0.0.1", "8000": str(unused_port)}.get(word, word) for word in image.command]
    assert command[1:3] == ["-m", "app.server"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=image.at("."), env=image.environment | given, stdout=log, stderr=log)
    try:
        assert ready(f"http://127.0.0.1:{unused_port}/readyz", server), (tmp_path / "log").read_text()[-3000:]
    finally:
        server.kill()
        server.wait()


def ready(url: str, server: subprocess.Popen[bytes], seconds: float = 90) -> bool:
    """Whether the server answers 200 before it ends or the time is over."""
    deadline = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(url, timeout=5).status_code == 200:
                return True
        except httpx2.TransportError:
            time.sleep(0.1)
    return False


def test_every_module_of_the_api_image_imports_and_it_has_no_workers(builder: Builder) -> None:
    image = builder.build("api")
    imported = import_all(image, builder.build("api-packages"), "app", "terms")
    assert imported.returncode == 0, imported.stderr
    assert "No module named 'workers'" in image.run("python", "-c", "import workers").stderr


def test_every_module_of_the_worker_image_imports(builder: Builder) -> None:
    """The Celery application and the handlers are among them."""
    image = builder.build("worker")
    imported = import_all(image, builder.build("worker-packages"), "workers", "terms", "shipped")
    assert imported.returncode == 0, imported.stderr
    assert {"workers.celery_app", "workers.handlers.calibration"} <= set(imported.stdout.split())


WORKER = {"BINNACLE_WORKER_CLASS": "light", "BINNACLE_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def import_all(image: Image, packages: Image, *names: str) -> subprocess.CompletedProcess[str]:
    """Imports every module of these packages in the image; the packages must lie within the image."""
    return image.run("python", "-c", IMPORT_ALL.format(packages=names, root=str(packages.root.parent)), **WORKER)


def test_dockerignore_is_read_by_dockers_rules(tmp_path: Path) -> None:
    """The last match decides, a folder stands for everything in it, and `**` is any number of folders."""
    ignored = Ignored("# comment\n*\n!app\n!docs/*.md\n**/__pycache__\n!README.md\n")
    seen = ["app/main.py", "app/deep/er.py", "README.md", "docs/a.md"]
    unseen = ["secret", "app/__pycache__/x.pyc", "app/a/__pycache__/y.pyc", "docs/deep/a.md", "application/x", "docs/a.txt"]
    assert not [path for path in seen if ignored.leaves_out(PurePosixPath(path))]
    assert not [path for path in unseen if not ignored.leaves_out(PurePosixPath(path))]
    for path in [*seen, *unseen]:
        (tmp_path / "from" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / path).write_text(path)
    copy_context(tmp_path / "from", ignored, tmp_path / "to")
    assert sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file()) == sorted(
        seen
    )


def test_an_unknown_instruction_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know"):
        read_stages("FROM python AS base\nADD app app\n")


SECRETS = ("POSTGRES_PASSWORD", "VALKEY_PASSWORD", "BINNACLE_KEY_PEPPER")
FILL_IN = "# and fill it in"  # the comment of the README on the line after which a person edits .env


def readme_commands() -> list[str]:
    """The lines of the README's code block about Docker."""
    [block] = re.findall(r"^```sh\n([^`]*?docker compose up[^`]*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return str(block).splitlines()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with only docker-compose.yml and .env.example, where the commands of the README begin."""
    folder = make_folder()
    for name in ("docker-compose.yml", ".env.example"):
        shutil.copy(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def composed(builder: Builder, folder: Path) -> Iterator[Composed]:
    """The services of that folder, not started, with free ports."""
    images = {"binnacle-api": builder.build("api"), "binnacle-worker": builder.build("worker")}
    ports = dict(zip(("api", "metrics", "postgres", "valkey"), unused_ports(4), strict=True))
    (folder / "work").mkdir()
    (folder / "work").chmod(0o711)
    composed = Composed(folder, images, folder / "work", ports)
    yield composed
    composed.stop()


@pytest.mark.timeout(600, func_only=True)
def test_the_docker_commands_of_the_readme_lead_to_a_calibration(composed: Composed, folder: Path) -> None:
    for line in readme_commands():
        if line.startswith("docker compose exec "):
            _, _, _, service, *command = shlex.split(line)
            done = composed.execute(service, *command)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}\n{composed.log('api')[-2000:]}"
            assert done.stdout.strip()
        elif line == "docker compose up --detach":
            composed.up()
            until(lambda: answers_ready("127.0.0.1", composed.port), "the api")
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
        until(lambda: {worker["id"] for worker in client.status()["workers"]} >= workers, "workers")
    assert all(name in binnacle("status", "--json") for name in workers)
    binnacle("models", "add", "demo-severe", "/models/demo-severe")
    shown = binnacle("submit", "calibrate", "demo-severe", "--max-new-tokens", "4", "--watch")
    assert "succeeded" in binnacle("jobs"), shown
    visible = "\n".join(command_lines(lambda pid: any(pid in tree(one.pid) for one in composed.running.values())).values())
    assert all(word in visible for word in ("app.server", "workers.celery_app", "valkey-server"))
    assert [name for name in SECRETS if read_environment(folder / ".env")[name] in visible] == []


def tree(pid: int) -> set[int]:
    """The ids of the process and of all its descendants."""
    return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


def fill_in(path: Path) -> None:
    """Fills in `.env` as a person would: random secrets, and the folder of the models."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "it holds secrets"
    text = path.read_text().replace("MODELS_FOLDER=./models", f"MODELS_FOLDER={ROOT / 'shipped' / 'models'}")
    for name in SECRETS:
        assert f"\n{name}=\n" in text
        text = text.replace(f"\n{name}=\n", f"\n{name}={secrets.token_hex(32)}\n")
    path.write_text(text)


def test_a_missing_secret_stops_compose(folder: Path) -> None:
    (folder / ".env").write_text((folder / ".env.example").read_text())
    with pytest.raises(ValueError, match=r"POSTGRES_PASSWORD: set it in \.env"):
        read_compose(folder)
