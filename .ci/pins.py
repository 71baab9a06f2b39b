"""Prints the `name==version` pins of everything this environment has that the project and its extras need.

    python .ci/pins.py > constraints.txt

Left out: torch and what only a torch wheel for CUDA needs (the installer takes torch first, by itself, in whichever build the machine's
package index offers), and whatever else happens to be installed here. Versions lose their local label: `2.0+cpu` is not on any index.
"""

import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = (ROOT / "pyproject.toml", ROOT / "binnacle" / "pyproject.toml")
OURS = "binnacle-interp-client"


def unpinned(name: str) -> bool:
    """Whether the build of torch decides about this package."""
    return name in {"torch", "triton", "pytorch-triton"} or name.startswith(("nvidia-", "cuda-"))


def requirements() -> Iterator[Requirement]:
    """What the server and the client ask for directly, with all their extras."""
    for file in PROJECTS:
        project = tomllib.loads(file.read_text())["project"]
        for line in [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]:
            if (wanted := Requirement(line)).name != OURS:
                yield wanted


def closure() -> dict[str, str]:
    """Every package needed here, directly or not, with its installed version."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements())
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        distribution = metadata.distribution(name)
        found[name] = distribution.version.partition("+")[0]
        for extra in {"", *wanted.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting.extend(_needed(distribution, extra))
    return found


def _needed(distribution: metadata.Distribution, extra: str) -> Iterator[Requirement]:
    for line in distribution.requires or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            requirement.marker = None
            yield requirement


def main() -> None:
    """The pins, one a line, sorted."""
    for name, version in sorted(closure().items()):
        if not unpinned(name):
            sys.stdout.write(f"{name}=={version}\n")


if __name__ == "__main__":
    main()
