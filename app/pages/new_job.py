"""Shows the form for a new job: a form for each kind, its estimated cost as it is filled in, errors at their fields. It works without a
script.
"""

import secrets
from typing import Annotated

from fastapi import Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from app.auth.viewer import Viewer
from app.errors import Problem
from app.http.context import Context, Shared
from app.http.problems import from_validation
from app.http.uploads import checked
from app.ids import id_pattern
from app.jobs import reading
from app.jobs.idempotency import idempotency, once
from app.jobs.submission import Asker
from app.jobs.submitting import Answer
from app.pages.doors import Changer, page_router
from app.pages.forms.again import form_of, request_again
from app.pages.forms.choices import choices
from app.pages.forms.fields import named_in_json
from app.pages.forms.kinds import FORMS, FormKind
from app.pages.forms.labels import labelled
from app.pages.forms.prices import Cost, Price, price
from app.pages.rendering import HEADERS, Shown, base_of, page
from app.pages.repeats import requests
from terms.values import JsonObject

router = page_router()

Kind = Annotated[str, Path(pattern=f"^({'|'.join(FORMS)})$")]
From = Annotated[str | None, Query(alias="from", pattern=id_pattern("job"), description="the job whose request fills the form")]
REFUSED = (400, 409, 413, 422, 429)
"""Statuses of errors that are shown in the form; other errors get their own page."""
Values = dict[str, list[str]]


@router.get("/new")
async def new(request: Request, _viewer: Changer) -> Response:
    """Shows the kinds of jobs."""
    return page(request, "new.jinja", forms=FORMS.values())


@router.get("/new/{kind}")
async def form_page(kind: Kind, request: Request, viewer: Changer, context: Shared, source: From = None) -> Response:
    """Shows the form for a new job: empty, filled from the address, or filled with an earlier job's request."""
    form = FORMS[kind]
    values = {name: request.query_params.getlist(name) for name in request.query_params if name != "from"}
    if source is not None:
        job = await context.part(reading.Reader).job(source, viewer)
        if form_of(job) is not form:
            raise Problem(404, "not_found", f"There is no job {source} that you may see and that this form can make again.")
        values = form.filled(request_again(form, job)) | values
    given = named_in_json(form.all_fields, values)
    values = {name: texts for name, texts in defaults(form).items() if name not in given} | values
    return page(request, "form.jinja", **await _shown(request, context, viewer, form, values), source=source)


@router.post("/new/{kind}")
async def submit(kind: Kind, request: Request, viewer: Changer, context: Shared) -> Response:
    """Submits the job and redirects to its page; the button Check only shows the estimated cost."""
    form, values = FORMS[kind], await sent(request)
    if values.get("do") == ["check"]:
        return page(request, "form.jinja", **await _shown(request, context, viewer, form, values, check=True), source=None)
    try:
        job = await submitted(request, context, viewer, form, form.body(values), values.get("once", [""])[0])
    except (Problem, RequestValidationError) as error:
        problem = refusal(error)
        shown = await _shown(request, context, viewer, form, values, problem=problem)
        return page(request, "form.jinja", problem.status, **shown, source=None)
    return RedirectResponse(f"/jobs/{job}", 303, headers=HEADERS)


@router.post("/parts/new/{kind}")
async def priced(kind: Kind, request: Request, viewer: Changer, context: Shared) -> Response:
    """Returns the estimated cost, the errors at their fields, and the lists that depend on other fields, while the form is filled in."""
    form, values = FORMS[kind], await sent(request)
    return page(request, "form_parts.jinja", **await _shown(request, context, viewer, form, values, check=True))


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


async def dry_run(context: Context, viewer: Viewer, form: FormKind, body: JsonObject) -> Cost:
    """Returns the result of the service's dry run. Raises Problem, RequestValidationError."""
    asked = checked(dict(body), form.request, strict=True)
    asker = Asker(viewer, context.settings)
    if form.planned:
        cost: BaseModel = await context.planner.run(form.service.estimate, asker, asked, False)
    else:
        cost = await context.database.run(form.service.estimate, asker, asked)
    return Cost.model_validate(cost, from_attributes=True)


async def submitted(request: Request, context: Context, viewer: Viewer, form: FormKind, body: JsonObject, key: str) -> str:
    """Submits the job and returns its id. A form that is sent twice makes one job. Raises Problem, RequestValidationError."""
    asked = checked(dict(body), form.request, strict=True)
    promise = idempotency(f"POST {form.path}", key or None, asked.model_dump(mode="json"))
    database = context.planner if form.planned else context.database
    asker = Asker(viewer, context.settings, promise, request.state.request_id)
    answer: Answer = await once(database, form.service.submit, asker, asked)
    return str(answer.job.id)


def defaults(form: FormKind) -> Values:
    """Returns the defaults of the form's lists; other fields show their defaults in grey."""
    values: Values = {}
    for field in form.all_fields:
        value = form.default(field.name)
        if field.listed and value:
            values |= form.filled({field.name: value})
    return values


def greys(form: FormKind) -> dict[str, str]:
    """Returns the values that empty fields stand for."""
    by_field = {}
    for field in form.fields:
        value = form.default(field.name)
        if field.control in ("number", "line", "names") and value:
            by_field[field.name] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return by_field


async def _shown(
    request: Request,
    context: Context,
    viewer: Viewer,
    form: FormKind,
    values: Values,
    *,
    check: bool = False,
    problem: Problem | None = None,
) -> Shown:
    """Returns the values for the form's templates."""
    cost: Price | None = None
    body: JsonObject = {}
    incomplete = [field.label for field in form.fields if field.needed and not any(values.get(field.name, ()))]
    if check and not incomplete:
        try:
            body = form.body(values)
            cost = price(await dry_run(context, viewer, form, body), form)
        except (Problem, RequestValidationError) as error:
            problem = refusal(error)
    errors = _at_fields(form, problem)
    return {
        "form": form,
        "values": values,
        "offered": await context.database.run(choices, viewer, form.all_fields, values),
        "greys": greys(form),
        "cost": cost,
        "problem": problem,
        "errors": errors,
        "rare_open": any(field.rare and (errors.get(field.name) or any(values.get(field.name, ()))) for field in form.all_fields),
        "incomplete": incomplete if check else [],
        "asked": requests(form.called, form.path, body, base_of(request)),
        "once": secrets.token_hex(16),
    }


def _at_fields(form: FormKind, problem: Problem | None) -> dict[str, list[str]]:
    """Returns the errors of each field, by the JSON pointers of the problem; under the empty name, errors without a field."""
    if problem is None:
        return {}
    names = {field.name for field in form.all_fields}
    errors: dict[str, list[str]] = {}
    for error in problem.errors or [{"pointer": "", "detail": problem.detail}]:
        name = error["pointer"].lstrip("/").split("/")[0]
        errors.setdefault(name if name in names else "", []).append(labelled(form, error["detail"]))
    return errors
