"""What Schemathesis cannot know of this API. Loaded by it through `SCHEMATHESIS_HOOKS`.

BINNACLE_CONTRACT_KEEPS names, with commas, what the run must not take away under its own feet: its key's id and its user.
"""

import os
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.generation.meta import TestPhase
from schemathesis.openapi.checks import AllowHeaderMismatch, UnsupportedMethodResponse, UseAfterFree

KEEPS = frozenset(os.environ.get("BINNACLE_CONTRACT_KEEPS", "").split(","))
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
OF_MEANING = frozenset({"value_error", "both_names"})
"""Codes under which a validator of ours refuses what no schema can say, such as two fields that exclude each other, or two names of
one field that differ."""
BESIDE_FILES = frozenset(
    {
        "/v1/extractions/{extraction_id}/exports",
        "/v1/steerings/{steering_id}/rescore",
        "/v1/studies/{study_id}/labels",
        "/v1/studies/{study_id}/retry",
    }
)
"""GET at these is a file of that name, which there is not: 422 tells the names there are, where 405 was expected."""
STAYS = ("/v1/quotas/{user}", "/v1/models/{name}")
"""A user's quota is always there: without one of their own it is everybody's. A removed model can be read, for the results made with it."""
WHOLE = "int_type"
"""46.0 is an integer to a schema. Here it is not, as false is no 0: a count is written as one."""


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Turns away what would end the run, or leave it nothing to ask for: revoking its own key, disabling or limiting its own user (links
    lead there too), removing the results that were made a moment ago."""
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
    """Two things that Schemathesis takes for failures and that are meant."""
    if case.path in BESIDE_FILES:
        return not isinstance(failure, UnsupportedMethodResponse | AllowHeaderMismatch)
    return not (case.path in STAYS and isinstance(failure, UseAfterFree))


@schemathesis.check
def every_error_is_a_problem(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """RFC 9457 with our members whatever was asked for, of whatever route and method; it names the request's id and the right status."""
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
    """A request that conforms to its schemas may be refused for what it means, and never for its shape: the schema would be wrong then."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code not in (400, 422):
        return None
    body = response.json()
    if response.status_code == 400:
        assert body["code"] == "malformed_request", (
            "only a NUL in the address, which no schema can rule out, is no request at all"
        )
    if body["code"] == "invalid_request":
        codes = {error["code"] for error in body["errors"]}
        wrong = [] if WHOLE in codes else [error for error in body["errors"] if error["code"] not in OF_MEANING]
        assert not wrong, f"a conforming request was refused for its shape: {wrong[:3]}"
    return None
