"""The client's wheel is complete, needs few packages, and works when it is installed alone, next to a user's own `app` package."""

import importlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from binnacle.cli import application, tree
from binnacle.version import DISTRIBUTION, VERSION
from tests.services import make_folder
from tests.yardstick import slowness

ROOT = Path(__file__).resolve().parents[2]
MOST_PACKAGES = 20


def needed() -> dict[str, metadata.Distribution]:
    """The distributions that installing the client brings, by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [DISTRIBUTION]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            wanted = map(Requirement, found[name].requires or [])
            waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    del found[DISTRIBUTION]
    return found


@pytest.fixture(scope="module")
def wheel() -> Iterator[Path]:
    """The client's wheel, built from this checkout."""
    folder = make_folder()
    source = folder / "binnacle"
    shutil.copytree(ROOT / "binnacle", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [made] = folder.glob("*.whl")
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def alone(wheel: Path) -> Iterator[Path]:
    """The bin folder of an environment with only the client's wheel and the packages it needs."""
    folder = make_folder()
    venv.create(folder / "env", symlinks=True)
    [site] = (folder / "env" / "lib").glob("python*/site-packages")
    for one in needed().values():
        for top in {Path(str(file)).parts[0] for file in one.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(one.locate_file(top))))
    python = folder / "env" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    yield folder / "env" / "bin"
    shutil.rmtree(folder)


def run(alone: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    return subprocess.run(
        [str(alone / command[0]), *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_client_works_next_to_a_users_own_app_package(alone: Path, tmp_path: Path) -> None:
    """The working directory holds packages named `app`, `terms` and `workers` that raise when they are imported."""
    for name in ("app", "terms", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is not yours')\n")
    used = run(
        alone, tmp_path, "python", "-c", "import binnacle; print(binnacle.__version__, binnacle.Client('http://127.0.0.1:9').url)"
    )
    assert used.stdout == f"{VERSION} http://127.0.0.1:9\n", used.stderr
    for command in (["binnacle"], ["python", "-m", "binnacle"]):
        shown = run(alone, tmp_path, *command, "--help")
        assert "watch" in shown.stdout, shown.stderr
        assert (shown.returncode, shown.stderr) == (0, "")
        refused = run(alone, tmp_path, *command, "jobs")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("error: no_service"), refused.stderr


def test_every_module_of_the_wheel_imports_with_its_dependencies_only(alone: Path, tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, binnacle\n"
        "for one in pkgutil.walk_packages(binnacle.__path__, 'binnacle.'):\n"
        "    one.name.endswith('__main__') or importlib.import_module(one.name)\n"
    )
    done = run(alone, tmp_path, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    listed = run(alone, tmp_path, "binnacle", "study", "list")
    assert "severity" in listed.stdout, listed.stderr


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = [path for path in (ROOT / "binnacle").rglob("*") if path.suffix in {".py", ".json", ".typed"}]
    wanted = {path.relative_to(ROOT).as_posix() for path in files if not {"build", "__pycache__"} & set(path.parts)}
    assert wanted - packed == set()
    assert {name.split("/")[0] for name in packed} == {"binnacle", f"{DISTRIBUTION.replace('-', '_')}-{VERSION}.dist-info"}


def test_it_needs_few_packages_and_no_torch() -> None:
    found = needed()
    assert len(found) <= MOST_PACKAGES, sorted(found)
    assert not {"torch", "fastapi", "sqlalchemy", "celery", "scipy", "transformers"} & set(found)


def test_the_table_of_commands_agrees_with_the_help_of_each_command() -> None:
    """`binnacle --help` prints the table without loading the commands, so a difference would go unnoticed."""
    commands = tree.all_commands({})
    assert {"watch", "up", "quotas verify"} <= set(commands)
    built = get_command(application.build(commands))
    for name, command in commands.items():
        found = built
        for part in name.split():
            found = found.commands[part]  # type: ignore[attr-defined]
        assert (found.help or "").replace("\n", " ").startswith(command.about.rstrip(".")), name


def test_help_loads_none_of_the_commands() -> None:
    code = (
        "import sys, time\n"
        "sys.argv = ['binnacle', '--help']\n"
        "from binnacle.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([one for one in ('typer', 'rich', 'httpx2', 'app.cli.service') if one in sys.modules], time.process_time())"
    )
    ends = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()[-1]
        for _ in range(3)
    ]
    loaded, seconds = min((end.rsplit(" ", 1) for end in ends), key=lambda one: float(one[1]))
    assert loaded == "[]"
    assert float(seconds) < 0.2 * slowness()


def test_an_unknown_name_of_the_package_raises_attribute_error() -> None:
    binnacle = importlib.import_module("binnacle")
    assert set(binnacle.__all__) == set(dir(binnacle))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        binnacle.Nothing  # noqa: B018
