"""Hooks and checks for this API, which Schemathesis loads through `SCHEMATHESIS_HOOKS`.

BINNACLE_CONTRACT_KEEPS lists, separated by commas, what the run must not revoke or disable: the id of its own key and its own user.
"""

import os
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import AllowHeaderMismatch, UnsupportedMethodResponse, UseAfterFree

KEEPS = frozenset(os.environ.get("BINNACLE_CONTRACT_KEEPS", "").split(","))
# the members of every problem document
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
OF_MEANING = frozenset({"value_error", "both_names"})
"""Codes of errors that no schema can express, such as two fields that exclude each other, or two different values for two names of one
field."""
BESIDE_FILES = frozenset(
    {
        "/v1/extractions/{extraction_id}/exports",
        "/v1/steerings/{steering_id}/rescore",
        "/v1/studies/{study_id}/labels",
        "/v1/studies/{study_id}/retry",
    }
)
"""GET at these takes the last part for the name of a file and answers 422 with the names of the files, where Schemathesis expects 405."""
STAYS = ("/v1/quotas/{user}", "/v1/models/{name}")
"""Paths that can still be read after DELETE: a user without an own quota has everybody's, and results refer to removed models."""
WHOLE = "int_type"
"""The code for 46.0 where a count is expected: JSON Schema takes 46.0 for an integer, the API does not."""


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Changes requests that would end the run: those that revoke its own key, disable or limit its own user (links lead there too), or
    remove the results that were just made."""
    if case.method != "GET":
        for name, value in (case.path_parameters or {}).items():
            if str(value) in KEEPS:
                case.path_parameters[name] = "nobody"
    if case.method == "DELETE" and case.meta is not None and case.meta.phase.name == TestPhase.STATEFUL:
        (case.query or {}).pop("dry_run", None)  # what it deletes must then be gone
    days = case.body.get("older_than_days") if case.path == "/v1/retention" and isinstance(case.body, dict) else None
    if isinstance(days, int | float) and 0 < days < 1 and days is not True:
        case.body["older_than_days"] = 1


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Returns False for two kinds of failures that are intended behaviour: see BESIDE_FILES and STAYS."""
    if case.path in BESIDE_FILES:
        return not isinstance(failure, UnsupportedMethodResponse | AllowHeaderMismatch)
    return not (case.path in STAYS and isinstance(failure, UseAfterFree))


@schemathesis.check
def every_error_is_a_problem(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """Every error, on any route and method, is an RFC 9457 problem with MEMBERS, the status of the response and the id of the request."""
    if response.status_code < 400 or case.path == "/readyz":
        return None
    kind = response.headers.get("content-type", [""])[0]
    assert kind == "application/problem+json", f"{response.status_code} is {kind or 'of no type'}"
    if case.method == "HEAD":
        return None
    body: dict[str, Any] = response.json()
    assert MEMBERS <= set(body) <= MEMBERS | {"facts"}, f"members {sorted(body)}"
    assert body["status"] == response.status_code
    assert body["type"] == f"/problems/{body['code']}"
    assert body["request_id"] == response.headers["x-request-id"][0]
    assert body["code"] != "unstorable_value", "only the database noticed"
    return None


@schemathesis.check
def what_the_description_allows_has_the_right_shape(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """A request that conforms to its schemas may be refused for its meaning, but not for its shape; otherwise the schema is wrong."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return None
    body = response.json()
    if response.status_code == 400:
        assert body["code"] == "malformed_request", "the only malformed request that conforms to a schema has a NUL in its URL"
    if body["code"] == "invalid_request":
        codes = {error["code"] for error in body["errors"]}
        wrong = [] if WHOLE in codes else [error for error in body["errors"] if error["code"] not in OF_MEANING]
        assert not wrong, f"a conforming request was refused for its shape: {wrong[:3]}"
    return None
