"""What is installed, and how: the pins, the import rules that an installer can see, and the files that travel in the wheel."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from binnacle.version import DISTRIBUTION, VERSION
from tests.yardstick import slowness

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT = tomllib.loads((ROOT / "binnacle" / "pyproject.toml").read_text())
PACKAGES = [pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
PIN = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9]+(\.[0-9]+)*((a|b|rc|\.?post)[0-9]+)?")


@pytest.fixture(scope="module")
def pins() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()


def test_every_line_of_the_constraints_is_a_plain_pin(pins: list[str]) -> None:
    """No local version (`+cpu`), URL, marker or comment: the file must mean the same on every package index."""
    assert [line for line in pins if not PIN.fullmatch(line)] == []
    names = [line.partition("==")[0] for line in pins]
    assert names == sorted(set(names))


def test_the_constraints_leave_torch_and_its_cuda_packages_to_the_machine(pins: list[str]) -> None:
    names = {line.partition("==")[0] for line in pins}
    assert not {name for name in names if name.startswith(("torch", "triton", "nvidia", "cuda"))}


def test_everything_the_project_asks_for_is_pinned_within_what_it_asks_for(pins: list[str]) -> None:
    versions = dict(line.split("==") for line in pins)
    for project in (PROJECT["project"], CLIENT["project"]):
        extras = [line for extra in project["optional-dependencies"].values() for line in extra]
        for requirement in map(Requirement, [*project["dependencies"], *extras]):
            if (name := canonicalize_name(requirement.name)) not in {"torch", DISTRIBUTION}:
                assert requirement.specifier.contains(versions[name]), f"{requirement} does not admit {versions[name]}"


def test_the_pins_are_those_of_this_environment_and_of_nothing_else(pins: list[str]) -> None:
    """`make constraints` writes the file; a dependency that was added without it shows here."""
    printed = subprocess.run([sys.executable, ".ci/pins.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == pins


def test_the_client_and_the_command_line_load_neither_torch_nor_the_server() -> None:
    """`import binnacle` in a notebook, and every `binnacle` command, must start in a fraction of a second."""
    heavy = ("torch", "transformers", "numpy", "sqlalchemy", "fastapi", "pydantic", "celery", "app", "workers")
    code = (
        "import sys, time, binnacle; from binnacle.cli import application, tree; binnacle.Client; application.build(tree.COMMANDS);"
        f"print([m for m in {heavy} if m in sys.modules], time.process_time())"
    )
    loaded, seconds = min((_run(code).rsplit(" ", 1) for _ in range(3)), key=lambda line: float(line[1]))
    assert loaded == "[]"
    assert float(seconds) < 0.5 * slowness()


def test_the_command_line_answers_from_the_installed_entry_point() -> None:
    shown = subprocess.run([Path(sys.executable).parent / "binnacle", "--help"], capture_output=True, text=True, check=True)
    assert shown.stderr == ""
    assert all(command in shown.stdout for command in ("up", "demo", "submit", "watch", "get", "doctor"))


def test_no_text_tells_people_to_install_the_strangers_project_that_the_index_calls_binnacle() -> None:
    """Whoever followed such a hint would run that project's code: `pip install binnacle` and `binnacle[extra]` are not ours."""
    places = [ROOT / name for name in ("app", "binnacle", "workers", "terms", "docs", ".ci")]
    files = [path for place in places for path in place.rglob("*") if path.suffix in {".py", ".md", ".conf", ".json", ""}]
    files += [
        path
        for path in ROOT.iterdir()
        if path.suffix in {".py", ".md", ".toml", ".yml"} or path.name in {"Makefile", "Dockerfile"}
    ]
    hint = re.compile(r"\binstall\b[^\n]*?['\"\s]binnacle(?:\[|['\"]|[=<>~]|\s*$)", re.MULTILINE)
    texts = {path.relative_to(ROOT): path.read_text() for path in files if path.is_file()}
    assert len(texts) > 300
    assert {str(path): hint.findall(text) for path, text in texts.items() if hint.search(text)} == {}
    assert hint.search("pip install 'binnacle[embedded]'")
    assert hint.search("pip install binnacle")


def test_the_server_and_the_client_have_one_version() -> None:
    """It is written in one file; the server asks for the client of its own version."""
    assert CLIENT["project"]["name"] == DISTRIBUTION != "binnacle"
    assert metadata.version(DISTRIBUTION) == metadata.version(PROJECT["project"]["name"]) == VERSION
    assert f"{DISTRIBUTION}=={VERSION}" in PROJECT["project"]["dependencies"]


def test_the_wheel_holds_all_that_runs(tmp_path: Path) -> None:
    """What an editable install finds in the checkout must be in the wheel too: migrations, prompts, shipped models."""
    source = tmp_path / "source"  # setuptools leaves a build folder beside what it builds
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "binnacle").mkdir()
    shutil.copy(ROOT / "binnacle" / "version.py", source / "binnacle")  # the version is read from it
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    wanted = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts and path.suffix != ".md"}
    assert wanted - packed == set()
    assert not any(name.startswith("binnacle/") for name in packed)


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
