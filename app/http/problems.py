"""Renders every error as RFC 9457 problem+json: what happened, its code, the request's id, and the fields by JSON pointer.

Independent of the domains. Never echoes what the caller sent, and never sends a traceback.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.errors import Problem
from app.http.renamed import as_sent
from app.refusals import fault, json_fault
from app.storage.base import StorageError
from terms.values import Json, JsonField, JsonObject

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
SHOWN = 20
"""Most field errors listed in one answer."""

CODES = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
KEY = re.compile(r"bnk_[0-9A-Za-z_]+", re.ASCII)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class FieldError(BaseModel):
    """One field: its JSON pointer into the body, or the name of the query, path or header parameter."""

    pointer: str = Field(description="JSON pointer into the request's body; empty for a parameter")
    detail: str
    code: str
    parameter: str | None = Field(None, description="`query.limit`, `path.job_id`, `header.last-event-id`")


class ProblemOut(BaseModel):
    """RFC 9457. `code` is stable; `detail` says what happened and what to do."""

    type: str = Field(examples=["/problems/unknown_model"])
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[FieldError]
    facts: JsonField | None = Field(
        None,
        description="for a quota: limit, used, adding, resets_at; for objects in use: used_by, hidden; for not_shared: the missing objects",
    )


def path_of(request: Request) -> str:
    """Returns the requested path, percent-encoded as in an address."""
    return quote(request.scope["path"], safe="/:@!$&'()*+,;=~")


def render(request: Request, problem: Problem) -> JSONResponse:
    """Returns the response for a problem."""
    body = {
        "type": f"/problems/{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": KEY.sub("bnk_...", path_of(request)),
        "code": problem.code,
        "request_id": request.scope.get("state", {}).get("request_id", ""),
        "errors": [error | {"pointer": as_sent(error["pointer"])} for error in problem.errors],
        **({} if problem.facts is None else {"facts": problem.facts}),
    }
    return JSONResponse(body, problem.status, headers={"Cache-Control": "no-store", **problem.headers}, media_type=MEDIA_TYPE)


def from_validation(error: RequestValidationError) -> Problem:
    """Returns the problem of an invalid request, with each field's JSON pointer; 400 when the body is not valid JSON."""
    failures = error.errors()
    broken = next((failure for failure in failures if failure["type"] == "json_invalid"), None)
    if broken is not None:
        where = f"at character {broken['loc'][-1]}, {json_fault(str(broken.get('ctx', {}).get('error')))}"
        return Problem(400, "malformed_json", f"The body is not valid JSON: {where}.")
    errors = [_field(failure, error.body) for failure in failures[:SHOWN]]
    more = f" And {len(failures) - 1} more." if len(failures) > 1 else ""
    where = errors[0]["pointer"] or errors[0].get("parameter") or "the body"
    return Problem(422, "invalid_request", f"{where}: {errors[0]['detail']}{more}", errors=errors)


def _field(failure: ErrorDetails, body: Json) -> dict[str, str]:
    place, *path = failure["loc"]
    code, detail = fault(failure)
    if place == "body":
        return {"pointer": pointer(_sent(path, body, missing=code == "missing_field")), "detail": detail, "code": code}
    return {"pointer": "", "parameter": ".".join(str(part) for part in (place, *path)), "detail": detail, "code": code}


def _sent(path: Sequence[str | int], body: Json, *, missing: bool) -> list[str | int]:
    """Returns the steps of a pydantic location that exist in the sent body, plus the last step of a missing field.

    Pydantic's locations also name the alternatives of a union that it tried; these steps are dropped.
    """
    steps: list[str | int] = []
    for step in path:
        inside = _inside(body)
        if step in inside:
            steps.append(step)
            body = inside[step]
    return [*steps, path[-1]] if missing and path else steps


def _inside(value: Json) -> dict[str | int, Json]:
    """Returns the values of an object by name or of a list by index; nothing for any other value."""
    if isinstance(value, dict):
        return {**value}
    return dict(enumerate(value)) if isinstance(value, list) else {}


def pointer(path: Sequence[str | int]) -> str:
    """Returns the JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return render(request, error)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return render(request, from_validation(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    detail = str(error.detail)
    if error.status_code == 404:
        detail = f"Nothing is served at {path_of(request)}; see /openapi.json."
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_served_at(request))
        detail = f"{request.method} is not allowed at {path_of(request)}; allowed: {headers['Allow']}."
    return render(request, Problem(error.status_code, code, detail, headers=headers))


def _served_at(request: Request) -> list[str]:
    """Returns every method that the address accepts; the router only reports the methods of a single route."""
    scopes = ((method, {**request.scope, "method": method}) for method in METHODS)
    return [method for method, scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)]


async def _database(request: Request, error: Exception) -> Response:
    log.error("database_unavailable", error=type(error).__name__, cause=type(getattr(error, "orig", error)).__name__)
    code, detail = request.app.state.context.database.explain(error)
    return render(request, Problem(503, code, detail, headers={"Retry-After": "5"}))


async def _unstorable(request: Request, error: Exception) -> Response:
    log.warning("unstorable_value", cause=type(getattr(error, "orig", error)).__name__)
    return render(
        request, Problem(422, "unstorable_value", "A value holds characters or a number that the database cannot hold.")
    )


async def _storage(request: Request, error: Exception) -> Response:
    log.error("storage_unavailable", error=type(error).__name__)
    detail = "The object store does not answer correctly. Try again in a few seconds; if this continues, tell an administrator."
    return render(request, Problem(503, "storage_unavailable", detail, headers={"Retry-After": "5"}))


def unexpected(request: Request, error: Exception) -> Response:
    """Returns the answer to an error in this service's code. The traceback goes to the log, under the request id in the answer."""
    log.error("unexpected_error", exc_info=error)
    identifier = request.scope.get("state", {}).get("request_id", "")
    detail = f"An internal error occurred. Give an administrator this request's id: {identifier}."
    return render(request, Problem(500, "internal_error", detail))


def install(app: FastAPI) -> None:
    """Registers the error handlers; `app.http.gate` answers all other errors.

    A lost connection means that the database is unavailable; any other failed statement is an error in this service's code.
    """
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    for outage in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(outage, _database)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(DBAPIError, _lost_connection)
    app.add_exception_handler(StorageError, _storage)


async def _lost_connection(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError)
    return await _database(request, error) if error.connection_invalidated else unexpected(request, error)


TEXTS = {
    400: "The body is not valid JSON, or the request is not well formed",
    401: "No valid key",
    403: "The key's role does not allow this",
    404: "The object does not exist, or the caller cannot access it",
    409: "The object's current state does not allow this",
    412: "A precondition is not met",
    413: "The body is larger than the limit",
    415: "Not application/json, or a Content-Encoding",
    416: "The range lies outside the file",
    422: "A field is not valid; `errors` names it",
    429: "A quota or a rate would be exceeded; `facts` and Retry-After say which and until when",
    503: "The database or the object store does not answer, or all connections are in use; see Retry-After",
    507: "The server's disk has too little free space for this upload",
}


def documented(*statuses: int) -> dict[int | str, JsonObject]:
    """Returns the `responses=` of a route that may answer with these problems."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemOut"}}
    return {
        status: {"description": TEXTS[status], "content": {MEDIA_TYPE: schema}}
        for status in sorted({*statuses, 400, 401, 429, 503})
    }
