"""Paths of the API for each kind of object, and ids."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from binnacle.errors import BinnacleError
from binnacle.sendable import check_printable

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


def quoted(name: str) -> str:
    """Returns a name or id as one part of a path. Raises BinnacleError `bad_name` for text that would name another path: "", ".", "..", a/b.

    A slash is refused because servers and proxies read its quoted form as a slash too; no name of the service has one.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise BinnacleError("bad_name", f"{name!r} is not a name or an id. Check the argument.")
    check_printable(name)
    return quote(name, safe="")
