"""Every string that a person reads, by where it comes from; `python -m tests.words` writes them to strings.txt."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
from pydantic_core._pydantic_core import list_all_errors

from app.main import create_app
from app.refusals import PATTERNS, sentence
from binnacle.cli.application import build
from binnacle.cli.tree import all_commands
from binnacle.shipped import shipped_studies
from tests.words.sources import of_folder, of_python

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("strings.txt")
PACKAGES = ("app", "binnacle", "migrations", "shipped", "terms", "workers")
ALONE = ("tools/demo_real.py",)
"""Programs of other folders that users run: `make demo-real`."""


def _described(document: Any) -> Iterator[str]:
    """Summaries and descriptions anywhere in an OpenAPI document."""
    if isinstance(document, list):
        for one in document:
            yield from _described(one)
    elif isinstance(document, dict):
        for key, value in document.items():
            if key in ("summary", "description") and isinstance(value, str):
                yield value
            else:
                yield from _described(value)


def _helped(command: Any) -> Iterator[str]:
    """What a command of the command line, and those below it, say of themselves and of their parameters."""
    yield command.help or ""
    yield from (getattr(one, "help", None) or "" for one in command.params)
    for one in getattr(command, "commands", {}).values():
        yield from _helped(one)


def _refused() -> Iterator[str]:
    """A sentence for each type of error that a validator of ours can meet, and for each pattern."""
    for known in list_all_errors():
        yield sentence({"type": known["type"], "ctx": known.get("example_context") or {}})
    for pattern in PATTERNS:
        yield sentence({"type": "string_pattern_mismatch", "ctx": {"pattern": pattern}})


def _studied() -> Iterator[str]:
    """What the shipped studies are about, and where their published numbers come from."""
    for one in shipped_studies():
        yield one.about
        for table in one.request.get("published", []):
            yield from (table["definition"], table["source"])


@cache
def collected() -> Mapping[str, list[str]]:
    """The strings by source, each on one line. What stands in a file is not repeated under the documents made of it."""
    found = {name: said for package in PACKAGES for name, said in of_folder(ROOT / package, ROOT)}
    found |= {name: of_python(ROOT / name) for name in ALONE}
    found["the API's description (openapi.json)"] = list(_described(create_app().openapi()))
    found["the command line's help"] = list(_helped(typer.main.get_command(build(all_commands({})))))
    found["the shipped studies"] = list(_studied())
    found["refusals of values"] = list(_refused())
    known: set[str] = set()
    for name in sorted(found, key=lambda name: (" " in name, name)):
        lines = dict.fromkeys(" ".join(one.split()) for one in found.pop(name))
        found[name] = [one for one in lines if one and (" " not in name or one not in known)]
        known.update(lines)
    return found


def as_text() -> str:
    """The file strings.txt as it should be."""
    parts = ("\n".join([f"# {name}", *said]) for name, said in collected().items() if said)
    return "\n\n".join(parts) + "\n"
