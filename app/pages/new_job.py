"""Shows the form for a new job: a form for each kind, its estimated cost as it is filled in, errors at their fields. It works without a
script.
"""

import secrets
from typing import Annotated, TypedDict

from fastapi import Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse

from app.auth.viewer import Viewer
from app.errors import Problem
from app.http.context import Context, Shared
from app.http.uploads import checked
from app.ids import id_pattern
from app.jobs import reading
from app.jobs.asking import Asking
from app.jobs.submission import Asker
from app.pages.doors import Changer, page_router
from app.pages.forms.again import form_of, request_again
from app.pages.forms.choices import Choices, choices
from app.pages.forms.fields import named_in_json
from app.pages.forms.kinds import FORMS, FormKind
from app.pages.forms.labels import labelled
from app.pages.forms.prices import Cost, Price, price
from app.pages.rendering import HEADERS, base_of, page
from app.pages.repeats import requests
from app.pages.sending import Values, api_request, refusal, sent
from terms.values import JsonObject

router = page_router()

Kind = Annotated[str, Path(pattern=f"^({'|'.join(FORMS)})$")]
From = Annotated[str | None, Query(alias="from", pattern=id_pattern("job"), description="the job whose request fills the form")]


class Filled(TypedDict):
    """What `form_parts.jinja` and `form.jinja` show. By field: `values`, `offered` (the entries of lists), `greys` and `errors`.

    `incomplete`: labels of empty fields that an estimate needs; `asked`: the same request for other clients; `once`: the idempotency key.
    """

    form: FormKind
    values: Values
    offered: Choices
    greys: dict[str, str]
    cost: Price | None
    problem: Problem | None
    errors: dict[str, list[str]]
    rare_open: bool
    incomplete: list[str]
    asked: dict[str, str]
    once: str


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
        job = await submitted(api_request(request, viewer, context, values, form.path), form, form.body(values))
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


async def dry_run(context: Context, viewer: Viewer, form: FormKind, body: JsonObject) -> Cost:
    """Returns the result of the service's dry run. Raises Problem, RequestValidationError."""
    asked = checked(dict(body), form.request, strict=True)
    database = context.planner if form.planned else context.database
    cost = await database.run(form.service.estimate, Asker(viewer, context.settings), asked)
    return Cost.model_validate(cost, from_attributes=True)


async def submitted(asks: Asking, form: FormKind, body: JsonObject) -> str:
    """Submits the job and returns its id. Raises Problem, RequestValidationError."""
    answer = await asks.answer(form.service.submit, checked(dict(body), form.request, strict=True), planned=form.planned)
    return answer.job.id


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
) -> Filled:
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
