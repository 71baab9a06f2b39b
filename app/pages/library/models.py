"""Shows models: the allow-list, each model with its proofs, versions and uses; administrators add and inspect models."""

from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict, cast

from fastapi import Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from app.calibrations import service as calibrations
from app.calibrations.results import CalibrationOut
from app.errors import Problem
from app.http.context import Shared
from app.http.uploads import checked
from app.jobs import service as jobs
from app.jobs.labels import Labels
from app.jobs.repository import JobFilters
from app.jobs.schemas import JobOut
from app.jobs.submission import Asker
from app.jobs.views import views
from app.models import service
from app.models.schemas import NAME, ModelOut, ModelPage, ModelRequest
from app.pages import sentences
from app.pages.answers import calibration
from app.pages.doors import Administrator, Reader, page_router
from app.pages.rendering import HEADERS, page
from app.pages.sending import refusal, sent
from terms.documents.calibration import MassiveDims, Severity
from terms.values import Json

router = page_router()

PER_PAGE = 100
USED = 15
"""Number of a model's newest jobs on its page."""
Name = Annotated[str, Path(pattern=NAME)]
SIZES = ("n_parameters", "layers", "hidden_size", "context_length", "vocab_size")


class Models(TypedDict):
    """What `models.jinja` shows. `further`: the name after which the next page begins; `values`: the texts of the form for a new model."""

    rows: Sequence[ModelOut]
    further: str | None
    values: dict[str, str]
    problem: Problem | None


@router.get("/models")
async def models_page(
    request: Request, _viewer: Reader, context: Shared, after: Annotated[str | None, Query(pattern=NAME)] = None
) -> Response:
    """Shows the list of models, by name."""
    return page(request, "models.jinja", **await _listed(context, after, {}))


async def _listed(context: Shared, after: str | None, values: dict[str, str], problem: Problem | None = None) -> Models:
    models = await context.database.read(service.listing, limit=PER_PAGE + 1, after=after)
    listed = ModelPage.of(models, PER_PAGE, lambda last: last.name)
    return {"rows": listed.items, "further": listed.next_cursor, "values": values, "problem": problem}


@router.post("/models")
async def register(request: Request, viewer: Administrator, context: Shared) -> Response:
    """Adds a model and redirects to the job that inspects it."""
    values = {name: given[0].strip() for name, given in (await sent(request)).items() if given and given[0].strip()}
    try:
        asked = checked(
            {name: value for name, value in values.items() if name in ModelRequest.model_fields}, ModelRequest, strict=True
        )
        job = await context.database.run(
            service.register, Asker(viewer, context.settings, request_id=request.state.request_id), asked
        )
    except (Problem, RequestValidationError) as error:
        problem = refusal(error)
        return page(request, "models.jinja", problem.status, **await _listed(context, None, values, problem))
    return RedirectResponse(f"/jobs/{job.id}", 303, headers=HEADERS)


@router.get("/models/{name}")
async def model_page(name: Name, request: Request, viewer: Reader, context: Shared) -> Response:
    """Shows a model: state, proofs, versions, and its newest calibration and jobs that the viewer may see."""

    def look(session: Session) -> tuple[ModelOut, CalibrationOut | None, list[JobOut]]:
        model = service.find(session, name)
        labels = Labels(None, None)
        newest = calibrations.listing(session, viewer, model=name, labels=labels, limit=1, before=None)
        listed = jobs.listing(session, viewer, JobFilters(model=name), limit=USED, before=None)
        used = views(session, listed, viewer, slice_seconds=context.settings.lease.slice)
        return model, newest[0] if newest else None, used

    model, newest, used = await context.database.read(look)
    severity = None
    if newest is not None:
        severity = calibration(cast(Severity, newest.severity), cast(MassiveDims, newest.massive_dims), None)
    return page(
        request, "model.jinja", model=model, newest=newest, used=[(job, sentences.title(job)) for job in used],
        severity=severity, sizes=_sizes(model.facts),
    )  # fmt: skip


def _sizes(facts: Mapping[str, Json]) -> list[tuple[str, str]]:
    """Returns the sizes that the inspection found in the model's files, in words."""
    sizes = {name: value for name, value in facts.items() if name in SIZES and isinstance(value, int)}
    return [(name.removeprefix("n_").replace("_", " "), f"{sizes[name]:,}") for name in SIZES if name in sizes]


@router.post("/models/{name}/inspect")
async def inspect(name: Name, request: Request, viewer: Administrator, context: Shared) -> Response:
    """Submits a new inspection of the model's files and redirects to its job."""
    job = await context.database.run(service.inspect, Asker(viewer, context.settings, request_id=request.state.request_id), name)
    return RedirectResponse(f"/jobs/{job.id}", 303, headers=HEADERS)
