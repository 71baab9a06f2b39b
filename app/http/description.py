"""Builds the OpenAPI document of the application."""

import warnings

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.http.links import add_links
from app.http.problems import ProblemOut
from terms.values import JsonObject

DESCRIPTION = """\
Calibrate language models on a shared GPU server: submit a job, follow it until it ends, download the result.

Every submission answers `202` with the job and its `Location`. Poll that with `If-None-Match` and `?wait=25`, or follow
`/events`. Errors are `application/problem+json` with a stable `code`, the request's id and the fields at fault by JSON pointer.

Every download answers `HEAD` too, with the headers of `GET`.

Fields that are marked as deprecated are old names of others: they are accepted and sent for one more version. The answer to a request that uses
one has a `Deprecation` header (RFC 9745).

Everything described here but `/livez` and `/readyz` needs a key. A job and its results are visible to its owner and administrators, and to
others as its `visibility` says; objects you cannot access return 404. Keys have a role (viewer, member, admin) and scopes (`read`, `submit`,
`admin`), and do what both allow.
"""

SERVERS = [{"url": "/", "description": "The server that this description comes from"}]
LICENCE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}


def describe(app: FastAPI) -> JsonObject:
    """Returns the OpenAPI document, with this service's error schema in place of FastAPI's validation error, which is never sent."""
    if app.openapi_schema is None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Duplicate Operation ID")  # GET and HEAD share an id; HEAD is removed below
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=DESCRIPTION,
                routes=app.routes,
                tags=app.openapi_tags,
                servers=SERVERS,
                license_info=LICENCE,
            )
        for item in document["paths"].values():
            item.pop("head", None)
            for told in item.values():
                told.setdefault("security", [])
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        problem = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["ProblemOut"] = problem
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        add_links(document)
        app.openapi_schema = document
    return app.openapi_schema
