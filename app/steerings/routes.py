"""HTTP routes of steerings: submit, list, read summaries, runs and texts, download files, score the texts again."""

from typing import Annotated, Literal

from fastapi import Body, Path, Query, Request, Response
from fastapi.openapi.models import Example

from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.downloads import serve_file
from app.http.paging import Cursor, Limit
from app.http.problems import documented
from app.jobs.asking import Asks, DryRun, Reuse, creates_job
from app.jobs.measures import with_names
from app.steerings import rescoring, service
from app.steerings.lines import Lines, Wanted
from app.steerings.results import RunsOut, SteeringCost, SteeringOut, SteeringPage
from app.steerings.schemas import RescoreRequest, SteeringRequest
from terms.documents.reading import read_answer, read_run

router = keyed_router(prefix="/v1/steerings", tag="steerings")

EXAMPLES: dict[str, Example] = {
    "newest vectors": {
        "summary": "The newest extraction's probe and mean_diff at two layers",
        "value": {"model": "demo-severe", "trait": "refusal", "methods": ["probe", "mean_diff"], "layers": [2, 3]},
    },
    "explicit doses": {
        "summary": "One vector at three doses, no search",
        "value": {
            "model": "demo-severe",
            "trait": "refusal",
            "vectors": ["vec_01k9zq3m4e8v6t2y5w7x9abcde"],
            "doses": [0.25, 0.5, 1.0],
        },
    },
}
SteeringId = Annotated[
    str,
    Path(
        pattern=r"^(str|job)_[0-9a-z]{26}$",
        description="the id of the steering, or of its job",
        examples=["str_01k9zq3m4e8v6t2y5w7x9abcde"],
    ),
]
Score = Annotated[float | None, Query(ge=0, le=100)]
FileName = Literal["summary.json", "runs.jsonl", "responses.jsonl", "results.jsonl"]


@router.post(
    "",
    operation_id="submitSteering",
    summary="Submit a steering",
    **creates_job(413, 415, cost=SteeringCost),
)
async def submit_steering(
    body: Annotated[SteeringRequest, Body(openapi_examples=EXAMPLES)],
    asks: Asks,
    dry_run: DryRun = False,
    reuse: Reuse = False,
) -> Response:
    """Makes a job that finds each vector's dose on selection questions and reports its gain on test questions, beside controls."""
    if dry_run:
        return await asks.priced(service.estimate, body)
    return await asks.submitted(service.submit, body, reuse)


@router.post(
    "/{steering_id}/rescore",
    operation_id="rescoreSteering",
    summary="Score a steering's texts with another judge",
    **creates_job(404, 413, 415),
)
async def rescore_steering(
    steering_id: SteeringId,
    body: RescoreRequest,
    asks: Asks,
) -> Response:
    """Makes a job that scores the same texts, runs and doses with another judge, as a new steering; no steered text is generated (a judge that
    is fitted may first ask the model some questions, unsteered). The id of a steer job that failed because its judge did not answer also works:
    the new job continues with the other judge and the finished texts."""
    return await asks.submitted(rescoring.rescore, steering_id, body)


@router.get("", operation_id="listSteerings", summary="List steerings", response_model=SteeringPage, responses=documented(422))
async def list_steerings(
    viewer: Caller,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    model: Annotated[str | None, Query(max_length=200)] = None,
    trait: Annotated[str | None, Query(max_length=100)] = None,
) -> SteeringPage:
    """Returns the steerings that you can see, newest first."""

    return await SteeringPage.newest(
        context,
        lambda session, before, count: service.listing(session, viewer, model=model, trait=trait, limit=count, before=before),
        scope=f"steerings {model} {trait}",
        limit=limit,
        cursor=cursor,
        key=lambda steering: (steering.created_at, steering.id),
    )


@router.get("/{steering_id}", operation_id="getSteering", summary="Get a steering's summary", responses=documented(404, 409, 422))
async def get_steering(steering_id: SteeringId, viewer: Caller, context: Shared) -> SteeringOut:
    """Returns the summary for each method: chosen layer and dose, gain with interval, controls, contrasts and their verdicts."""
    return await context.database.read(service.find, steering_id, viewer)


@router.get(
    "/{steering_id}/runs",
    operation_id="listSteeringRuns",
    summary="List a steering's runs",
    response_model=RunsOut,
    responses=documented(404, 409, 422),
)
async def list_runs(  # one parameter for each filter of the query string
    steering_id: SteeringId,
    viewer: Caller,
    context: Shared,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[int, Query(ge=0, description="`next_cursor` of the page before")] = 0,
    question_set: Annotated[str | None, Query(alias="set", max_length=40)] = None,
    method: Annotated[str | None, Query(max_length=200)] = None,
    layer: Annotated[int | None, Query(ge=0)] = None,
) -> RunsOut:
    """Returns the runs. A run is one set of questions under one intervention: dose, mean scores, effect at the site."""
    file = await context.database.read(service.file, steering_id, "runs.jsonl", viewer)
    wanted = Wanted({"set": question_set, "method": method, "layer": layer})
    items, following = await Lines(context.storage, file, read_run).page(wanted, cursor, limit)
    return RunsOut(items=[with_names(run) for run in items], next_cursor=following)


@router.get(
    "/{steering_id}/responses",
    operation_id="listSteeringResponses",
    summary="List a steering's texts with their scores",
    response_model=RunsOut,
    responses=documented(404, 409, 422),
)
async def list_responses(  # one parameter for each filter of the query string
    steering_id: SteeringId,
    viewer: Caller,
    context: Shared,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[int, Query(ge=0, description="`next_cursor` of the page before")] = 0,
    run: Annotated[str | None, Query(max_length=200)] = None,
    question_set: Annotated[str | None, Query(alias="set", max_length=40)] = None,
    method: Annotated[str | None, Query(max_length=200)] = None,
    layer: Annotated[int | None, Query(ge=0)] = None,
    min_trait: Score = None,
    max_trait: Score = None,
    min_coherence: Score = None,
    max_coherence: Score = None,
) -> RunsOut:
    """Returns the answers with their scores; `method` and `layer` are those of the run's vector."""
    runs = None
    if method is not None or layer is not None:
        file = await context.database.read(service.file, steering_id, "runs.jsonl", viewer)
        steered = await Lines(context.storage, file, read_run).every(Wanted({"method": method, "layer": layer}))
        runs = {line["run"] for line in steered}
    wanted = Wanted(
        equal={"run": run, "set": question_set},
        at_least={"trait": min_trait, "coherence": min_coherence},
        at_most={"trait": max_trait, "coherence": max_coherence},
        runs=runs,
    )
    file = await context.database.read(service.file, steering_id, "responses.jsonl", viewer)
    items, following = await Lines(context.storage, file, read_answer).page(wanted, cursor, limit)
    return RunsOut(items=[dict(answer) for answer in items], next_cursor=following)


@router.get(
    "/{steering_id}/{name}",
    operation_id="getSteeringFile",
    summary="Download a file of the result",
    response_class=Response,
    responses={
        200: {"description": "The file"},
        206: {"description": "The requested range"},
        304: {"description": "Not modified: you have this version"},
        307: {"description": "Redirect to the object store; the address is valid for a few minutes"},
        **documented(404, 409, 416, 422),
    },
)
async def get_steering_file(
    steering_id: SteeringId, name: FileName, request: Request, viewer: Caller, context: Shared
) -> Response:
    """Returns a file of the steering; `results.jsonl` has trait-interp's schema. The ETag is the file's SHA-256; one Range at a time."""
    return await serve_file(
        request, context, viewer, lambda session, who: service.file(session, steering_id, name, who), prefix=f"{steering_id}."
    )
