"""Study specs shipped inside the package: the demo's, the severity of many models, and the reference's experiments with its published
numbers.
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from binnacle.errors import BinnacleError


@dataclass(frozen=True)
class ShippedStudy:
    """A shipped study. `request` is the body of `POST /v1/studies`; `about` says what it needs first; `page` is the file for its report."""

    name: str
    about: str
    request: dict[str, Any]
    page: str | None = None


def shipped_studies() -> list[ShippedStudy]:
    """Returns all shipped studies, by name."""
    folder = resources.files("binnacle") / "specs"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: one.name)
    return [ShippedStudy(one.name.removesuffix(".json"), **json.loads(one.read_text(encoding="utf-8"))) for one in files]


def shipped_study(name: str) -> ShippedStudy:
    """Returns a shipped study. Raises BinnacleError naming the available ones."""
    known = {one.name: one for one in shipped_studies()}
    if name not in known:
        raise BinnacleError("unknown_study", f"No study called {name} ships with Binnacle; there are {', '.join(known)}.")
    return known[name]
