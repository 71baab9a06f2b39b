"""Refuses query parameters that a route does not have: with a misspelt `dryrun=true` a job would be submitted, with `ownr=ada` everything
would be listed.
"""

from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Literal, get_args, get_origin

from fastapi import Query, Request, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params

from app.errors import Problem
from app.http.problems import SHOWN as LISTED

SHOWN = 100
"""Most characters of an unknown name that an error repeats."""


async def through_the_server(
    proxy: Annotated[Literal["0", "1"], Query(description="`1`: the bytes come through this server instead of a redirect")] = "0",
) -> bool:
    """Declares the parameter that every download has; `app.storage.serving` reads it."""
    return proxy == "1"


def parameters_of(dependant: Dependant) -> dict[str, bool]:
    """Returns the query parameters of a route, by name: whether it may be given several times."""
    fields = [field for field in get_flat_params(dependant) if isinstance(field.field_info, params.Query)]
    return {field.alias: _is_list(field.field_info.annotation) for field in fields}


def _is_list(annotation: object) -> bool:
    return get_origin(annotation) is list or any(_is_list(part) for part in get_args(annotation))


def check_parameters(request: Request, known: Mapping[str, bool]) -> None:
    """Raises Problem 422 for parameters that are not known (`unknown_parameter`), or that are given twice and take one value
    (`repeated_parameter`).
    """
    given = Counter(name for name, _ in request.query_params.multi_items())
    unknown = islice((name for name in given if name not in known), LISTED)  # to look for names near thousands takes seconds
    errors = [_error(name, "unknown_parameter", _unknown(name, known)) for name in unknown]
    errors += [
        _error(name, "repeated_parameter", f"{name} takes one value, but was given several times. Give it once.")
        for name, times in given.items()
        if times > 1 and known.get(name) is False
    ]
    if errors:
        raise Problem(422, errors[0]["code"], errors[0]["detail"], errors=errors)


def _unknown(name: str, known: Mapping[str, bool]) -> str:
    near = get_close_matches(name, known, n=1)
    meant = f" Did you mean {near[0]}?" if near else f" Those of this route: {', '.join(sorted(known))}." if known else ""
    return f"This route has no query parameter {name[:SHOWN]!r}.{meant}"


def _error(name: str, code: str, detail: str) -> dict[str, str]:
    return {"pointer": "", "parameter": f"query.{name[:SHOWN]}", "detail": detail, "code": code}
