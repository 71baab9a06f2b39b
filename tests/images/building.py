"""Builds the stages of the Dockerfile as folders on this machine, without Docker: runs their COPY and pip lines.

Not tested: the base image, its apt packages, users, file modes, and the download of pinned packages. Those packages, pip among them, are
taken from the running environment, which is last on the path; Binnacle itself is importable only from where the image has it.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.images.dockerfile import Stage

VENV = "/opt/venv"
APT = "apt-get update"
"""The beginning of the only RUN line that is left out."""
QUICKER = {f"python -m venv {VENV}": f"python -m venv --without-pip {VENV}", f"{VENV}/bin/pip ": f"{VENV}/bin/python -m pip "}
"""Commands that the running environment's pip serves: unpacking another into each virtual environment takes six seconds."""


class Image:
    """A stage's files under `root`, its environment and its command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workdir = "/"
        self.environment: dict[str, str] = {}
        self.command: list[str] = []
        root.mkdir(parents=True)

    def at(self, path: str) -> Path:
        """Where a path of the image lies on this machine; it may be relative to WORKDIR."""
        return self.root / str(Path(self.workdir, path)).lstrip("/")

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the command in the image, with the environment of the image only."""
        given = self.environment | environment
        return subprocess.run(command, cwd=self.at("."), env=given, capture_output=True, text=True, timeout=300, check=False)


class Builder:
    """Builds stages under `folder` from the build context `context`."""

    def __init__(self, stages: dict[str, Stage], context: Path, folder: Path) -> None:
        self._stages = stages
        self._context = context
        self._folder = folder
        self._built: dict[str, Image] = {}
        self._packages = _packages_without_the_product(folder / "packages")

    def build(self, name: str) -> Image:
        """Builds the stage `name` and the stages it needs, each once."""
        if name in self._built:
            return self._built[name]
        stage = self._stages[name]
        image = Image(self._folder / name)
        if stage.base in self._stages:
            base = self.build(stage.base)
            shutil.copytree(base.root, image.root, symlinks=True, dirs_exist_ok=True)
            image.workdir, image.environment = base.workdir, dict(base.environment)
        else:
            image.environment = {"PATH": os.environ["PATH"], "HOME": str(image.root)}
        for word, rest in stage.instructions:
            self._follow(image, word, rest)
        self._built[name] = image
        return image

    def _follow(self, image: Image, word: str, rest: str) -> None:
        if word == "WORKDIR":
            image.workdir = rest
            image.at(".").mkdir(parents=True, exist_ok=True)
        elif word == "ENV":
            pairs = [pair.split("=", 1) for pair in shlex.split(rest)]
            image.environment |= {
                name: value.replace(VENV, str(image.at(VENV))).replace("$PATH", image.environment["PATH"])
                for name, value in pairs
            }
        elif word == "COPY":
            self._copy(image, shlex.split(rest))
        elif word == "RUN" and not rest.startswith(APT):
            self._run(image, rest)
        elif word == "CMD":
            image.command = [part.strip(' "') for part in rest.strip("[]").split('",')]

    def _copy(self, image: Image, words: list[str]) -> None:
        """Copies files, and the contents of folders, into the target. `--from` links, because scripts of a virtual environment hold its path."""
        if words[0].startswith("--from="):
            source = self.build(words[0].removeprefix("--from=")).at(words[1])
            image.at(words[2]).parent.mkdir(parents=True, exist_ok=True)
            image.at(words[2]).symlink_to(source)
            return
        *sources, target = words
        for source in sources:
            seen = self._context / source
            assert seen.exists(), f"COPY {source}: .dockerignore does not let it in"
            if seen.is_dir():
                shutil.copytree(seen, image.at(target), dirs_exist_ok=True)
            else:
                shutil.copy(seen, image.at(target) / seen.name if target.endswith("/") else image.at(target))

    def _run(self, image: Image, line: str) -> None:
        """Runs a line that makes the virtual environment or installs into it; without an index, as the pinned packages are here already."""
        assert VENV in line, f"tests/images does not know what to do with RUN {line}"
        environment = image.environment | {
            "PYTHONPATH": str(self._packages),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one as the value of "build isolation"
        }
        here = line
        for written, quicker in QUICKER.items():
            here = here.replace(written, quicker)
        here = here.replace(VENV, str(image.at(VENV)))
        done = subprocess.run(
            ["sh", "-ec", here], cwd=image.at("."), env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"RUN {line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        [site] = image.at(VENV).glob("lib/python*/site-packages")
        (site / "zz-others.pth").write_text(f"{self._packages}\n")


def _packages_without_the_product(folder: Path) -> Path:
    """Fills the folder with links to every package of this environment except Binnacle's, and returns it."""
    folder.mkdir(parents=True)
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "binnacle" not in path.name and path.name != "__pycache__" and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder
