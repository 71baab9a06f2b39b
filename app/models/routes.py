"""Routes of models. Everyone with a key can read the list; administrators change it."""

from typing import Annotated

from fastapi import Body, Path, Query, Request, Response

from app.http.access import Admin, Caller, keyed_router
from app.http.context import Shared
from app.http.paging import Limit
from app.http.problems import documented
from app.jobs.asking import creates_job
from app.jobs.responses import submitted_response
from app.jobs.submission import Asker
from app.models import service
from app.models.schemas import NAME, ModelOut, ModelPage, ModelRequest

router = keyed_router(prefix="/v1/models", tag="models")

Name = Annotated[str, Path(pattern=NAME, examples=["demo-severe"])]


@router.get("", operation_id="listModels", summary="List models", responses=documented(422))
async def list_models(
    _viewer: Caller,
    context: Shared,
    limit: Limit = 200,
    cursor: Annotated[str | None, Query(pattern=NAME, description="`next_cursor` of the page before")] = None,
) -> ModelPage:
    """Returns the models, by name."""
    models = await context.database.read(service.listing, limit=limit + 1, after=cursor)
    return ModelPage.of(models, limit, lambda last: last.name)


@router.post(
    "",
    operation_id="registerModel",
    summary="Add a model",
    **creates_job(413, 415, job="the inspect job"),
)
async def register_model(
    body: Annotated[ModelRequest, Body(examples=[{"name": "demo-severe", "source": "/models/demo-severe"}])],
    request: Request,
    viewer: Admin,
    context: Shared,
) -> Response:
    """Registers a folder on the workers, or a hub id with its commit, and makes the job that inspects it. Administrators only."""
    job = await context.database.run(service.register, Asker(viewer, context.settings, request_id=request.state.request_id), body)
    return submitted_response(job, request=request)


@router.get("/{name}", operation_id="getModel", summary="Get a model: state, facts and fault", responses=documented(404, 422))
async def get_model(name: Name, _viewer: Caller, context: Shared) -> ModelOut:
    """Returns the model, with `facts` once it is `ready` and `fault` when it is `faulty`. A removed model is still shown, with `removed_at`."""
    return await context.database.read(service.find, name)


@router.post(
    "/{name}/inspect",
    operation_id="inspectModel",
    summary="Inspect a model again",
    **creates_job(404, job="the inspect job"),
)
async def inspect_model(name: Name, request: Request, viewer: Admin, context: Shared) -> Response:
    """Makes a job that inspects the model again, for files that were repaired or replaced; jobs that use the model wait until the inspection
    ends. Refused while the model is being inspected or proved. Administrators only."""
    job = await context.database.run(service.inspect, Asker(viewer, context.settings, request_id=request.state.request_id), name)
    return submitted_response(job, request=request)


@router.delete(
    "/{name}",
    operation_id="deleteModel",
    summary="Remove a model from the list",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404, 409, 422),
)
async def delete_model(name: Name, viewer: Admin, context: Shared) -> None:
    """Removes the model from the list. Its files and results stay; new jobs cannot use the model until it is added again. Refused while
    unfinished jobs or judges use it. Administrators only."""
    await context.database.run(service.delete, name, viewer)
