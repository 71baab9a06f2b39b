"""Reads what a person sent with a form of a page, as the request to the API that the form stands for."""

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from app.auth.viewer import Viewer
from app.errors import Problem
from app.http.context import Context
from app.http.problems import from_validation
from app.jobs.asking import Asking

REFUSED = (400, 409, 413, 422, 429)
"""Statuses of errors that are shown in the form; other errors get their own page."""
Values = dict[str, list[str]]


async def sent(request: Request) -> Values:
    """Returns the texts of the form by field."""
    form = await request.form()
    return {name: [str(text) for text in form.getlist(name)] for name in form if name != "csrf"}


def refusal(error: Problem | RequestValidationError) -> Problem:
    """Returns the error to show in the form. Raises Problem for errors that no change of the form can fix."""
    problem = from_validation(error) if isinstance(error, RequestValidationError) else error
    if problem.status not in REFUSED:
        raise problem
    return problem


def api_request(request: Request, viewer: Viewer, context: Context, values: Values, path: str) -> Asking:
    """Returns the request to the API's `path` that the form stands for. Its idempotency key is in the form, so a form that is sent twice makes
    one job."""
    return Asking(request, viewer, context, values.get("once", [""])[0] or None, f"POST {path}")
