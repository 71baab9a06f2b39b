"""Reads the stages of the Dockerfile and `.dockerignore`. An instruction that it does not know raises ValueError."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

KNOWN = frozenset({"ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"})


@dataclass(frozen=True)
class Stage:
    """`FROM base AS name` and the instructions that follow: (word, the rest of its line)."""

    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]


def read_stages(text: str) -> dict[str, Stage]:
    """Every stage by name, in order. Raises ValueError for an unknown instruction."""
    without_comments = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found: dict[str, Stage] = {}
    for line in without_comments.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, base, ())
        elif word:
            if word not in KNOWN:
                raise ValueError(f"tests/images does not know the instruction {line!r}")
            last = list(found.values())[-1]
            found[last.name] = Stage(last.name, last.base, (*last.instructions, (word, rest.strip())))
    return found


class Ignored:
    """The rules of a `.dockerignore`: the last rule that matches a path, or a folder above it, decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._rules = [(line.removeprefix("!"), line.startswith("!")) for line in lines if line and not line.startswith("#")]

    def leaves_out(self, path: PurePosixPath) -> bool:
        """Whether the rules exclude `path`, which is relative to the build context."""
        places = [str(place) for place in (path, *path.parents) if str(place) != "."]
        out = False
        for pattern, admits in self._rules:
            if any(_pattern(pattern).fullmatch(place) for place in places):
                out = not admits
        return out

    def seen(self, root: Path) -> Iterator[PurePosixPath]:
        """Every file under `root` that is in the build context. An excluded folder is entered only if a rule names something inside it."""
        for folder, folders, files in os.walk(root):
            here = PurePosixPath(Path(folder).relative_to(root))
            inside = [here / name for name in folders]
            folders[:] = [one.name for one in inside if not self.leaves_out(one) or self._admits_below(one)]
            yield from (here / name for name in files if not self.leaves_out(here / name))

    def _admits_below(self, folder: PurePosixPath) -> bool:
        return any(admits and pattern.startswith(f"{folder}/") for pattern, admits in self._rules)


def copy_context(root: Path, ignored: Ignored, target: Path) -> None:
    """Copies the build context of `root`, without the ignored files."""
    for path in ignored.seen(root):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target / path)


def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of Go's filepath.Match, with `**` for any number of folders, as a regular expression."""
    kinds = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", text.strip("/"))
    return re.compile("".join(kinds.get(piece, re.escape(piece)) for piece in pieces))
