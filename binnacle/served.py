"""Paths of the API for each kind of object, and ids."""

import re
from collections.abc import Mapping
from typing import Any

ROUTES = {
    "calibrate": "/v1/calibrations",
    "extract": "/v1/extractions",
    "steer": "/v1/steerings",
    "generate": "/v1/generations",
    "study": "/v1/studies",
}
"""Path to which each kind of job is submitted."""
RESULTS = {"cal": "/v1/calibrations", "ext": "/v1/extractions", "str": "/v1/steerings", "std": "/v1/studies"}
"""Paths of results, by the prefix of their ids; their visibility is that of their jobs."""
SHARED = {"trait": "/v1/traits", "vec": "/v1/vectors"}
"""Paths of objects that are shared and deleted separately from jobs."""
ID = re.compile(r"(job|cal|ext|str|std|vec|trait)_[0-9a-z]{26}")


def id_of(which: str | Mapping[str, Any]) -> str:
    """Returns the id of a job or result, given as an id or as its JSON object."""
    return which if isinstance(which, str) else str(which["id"])
