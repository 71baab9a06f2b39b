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
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return [ShippedStudy(file.name.removesuffix(".json"), **json.loads(file.read_text(encoding="utf-8"))) for file in files]


def shipped_study(name: str) -> ShippedStudy:
    """Returns a shipped study. Raises BinnacleError naming the available ones."""
    known = {study.name: study for study in shipped_studies()}
    if name not in known:
        raise BinnacleError("unknown_study", f"No study called {name} ships with Binnacle; there are {', '.join(known)}.")
    return known[name]
