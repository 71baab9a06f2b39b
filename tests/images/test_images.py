"""The images start: their stages are built as folders from what a build would see, and run from outside the checkout."""

import subprocess
import time
from pathlib import Path, PurePosixPath

import httpx2
import pytest

from tests.images.building import Builder, Image
from tests.images.dockerfile import Ignored, copy_context, read_stages

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


@pytest.mark.timeout(400)
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


@pytest.mark.timeout(400)
def test_everything_in_the_api_image_can_be_imported_and_no_worker_is_in_it(builder: Builder) -> None:
    image = builder.build("api")
    imported = import_all(image, builder.build("api-packages"), "app", "terms")
    assert imported.returncode == 0, imported.stderr
    assert "No module named 'workers'" in image.run("python", "-c", "import workers").stderr


@pytest.mark.timeout(400)
def test_everything_in_the_worker_image_can_be_imported(builder: Builder) -> None:
    """The Celery application and every handler with it."""
    image = builder.build("worker")
    imported = import_all(image, builder.build("worker-packages"), "workers", "terms", "shipped")
    assert imported.returncode == 0, imported.stderr
    assert {"workers.celery_app", "workers.handlers.calibration"} <= set(imported.stdout.split())


WORKER = {"BINNACLE_WORKER_CLASS": "light", "BINNACLE_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def import_all(image: Image, packages: Image, *names: str) -> subprocess.CompletedProcess[str]:
    """Imports every module of these packages in the image, which must be the image's own."""
    return image.run("python", "-c", IMPORT_ALL.format(packages=names, root=str(packages.root.parent)), **WORKER)


def test_the_reading_of_dockerignore_is_dockers(tmp_path: Path) -> None:
    """Its documentation's rules: the last match decides, a folder stands for what is in it, `**` is any number of folders."""
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


def test_an_instruction_that_is_not_understood_is_not_skipped() -> None:
    with pytest.raises(ValueError, match="does not know"):
        read_stages("FROM python AS base\nADD app app\n")
