"""The error type for everything that goes wrong in a request; `app/http/problems.py` renders it as RFC 9457 problem+json.

Independent of HTTP frameworks: services raise it, the command line prints it, workers store it on the job.
"""

from collections.abc import Mapping

from terms.documents.jobs import ErrorFacts
from terms.values import Json


class Problem(Exception):
    """An error, for a person and for a program.

    `code` is stable snake_case; `detail` says what happened, with the numbers, and what to do about it; `errors` names fields by JSON
    pointer: `[{"pointer": "/prompts/3", "detail": "...", "code": "..."}]`; `facts` are numbers for programs.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        facts: Mapping[str, Json] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.headers = headers or {}
        self.facts = facts


def invalid(pointer: str, code: str, detail: str) -> Problem:
    """Returns Problem 422 for one field of the payload."""
    return Problem(422, code, detail, errors=[{"pointer": pointer, "detail": detail, "code": code}])


def not_found(what: str, identifier: str) -> Problem:
    """Returns Problem 404, also for objects that exist but that the caller may not see."""
    return Problem(404, "not_found", f"There is no {what} {identifier} that you may see.")


def as_error(code: str, detail: str, **facts: Json) -> ErrorFacts:
    """Returns the `error` of a failed job: a code, a sentence that says what to do, and the facts behind it."""
    error: ErrorFacts = {"code": code, "detail": detail}
    if facts:
        error["facts"] = facts
    return error
