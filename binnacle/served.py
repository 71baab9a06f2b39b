"""Where the service serves each kind of thing, and ids."""

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
"""Where each kind of job is submitted."""
RESULTS = {"cal": "/v1/calibrations", "ext": "/v1/extractions", "str": "/v1/steerings", "std": "/v1/studies"}
"""Where results lie, by the prefix of their ids; they are shown with their jobs."""
SHARED = {"trait": "/v1/traits", "vec": "/v1/vectors"}
"""What is shown to others, and deleted, by itself."""
ID = re.compile(r"(job|cal|ext|str|std|vec|trait)_[0-9a-z]{26}")


def id_of(which: str | Mapping[str, Any]) -> str:
    """The id of a job or result, or of its JSON object."""
    return which if isinstance(which, str) else str(which["id"])
