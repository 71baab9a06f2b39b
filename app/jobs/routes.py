"""HTTP routes of jobs: read, wait, follow, list, cancel, retry, download. `service` decides what is allowed."""

from typing import Annotated, Literal

from fastapi import Body, Header, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.auth.sharing import MYSELF
from app.errors import Problem, not_found
from app.http.access import Caller, Member, keyed_router
from app.http.context import Shared
from app.http.downloads import serve_file
from app.http.paging import Cursor, LabelQuery, Limit, Moment, Page
from app.http.problems import documented
from app.ids import id_pattern
from app.jobs import reading, repository, service
from app.jobs.asking import Asks, creates_job
from app.jobs.editing import edit
from app.jobs.labels import Labels
from app.jobs.models import Artifact
from app.jobs.reading import Reader
from app.jobs.repository import JobFilters
from app.jobs.responses import job_response
from app.jobs.schemas import EventOut, JobEdit, JobOut
from app.jobs.states import State
from app.jobs.streams import stream
from app.jobs.submitting import retried
from app.jobs.views import view, views
from app.jobs.waiting import Wakeups
from app.moments import TimeAndId

router = keyed_router(prefix="/v1/jobs", tag="jobs")

JobId = Annotated[str, Path(pattern=id_pattern("job"), examples=["job_01k9zq3m4e8v6t2y5w7x9abcde"])]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]
SENT = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobOut"}}}}
EDITS = [
    {"name": "layer sweep, the good one", "tags": ["paper"], "keep": True},
    {"visibility": "public"},
    {"visibility": "group", "group": "interp"},
]


class JobPage(Page[JobOut]):
    """Jobs, newest first."""


class EventPage(BaseModel):  # not a Page: its cursor is an event's number, sent as `after`
    """A job's history in order; `next_cursor` is the `after` of the next page, null when there is nothing more for now."""

    items: list[EventOut]
    next_cursor: int | None


@router.get("", operation_id="listJobs", summary="List jobs", response_model=JobPage, responses=documented(422))
async def list_jobs(  # one parameter for each filter of the query string
    viewer: Caller,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[list[State] | None, Query(description="may be given several times")] = None,
    kind: Text = None,
    model: Text = None,
    owner: Annotated[str | None, Query(max_length=100, description="an owner; `me` for yourself")] = None,
    name: Annotated[str | None, Query(max_length=200, description="part of the name; case is ignored")] = None,
    tag: Text = None,
    q: Annotated[
        str | None,
        Query(max_length=200, pattern=r"^[^\x00]*$", description="words; each must begin a word of the name, notes or tags"),
    ] = None,
    experiment: LabelQuery = None,
    model_variant: LabelQuery = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
) -> JobPage:
    """Returns the jobs that you may see, newest first: your own (`owner=me`) and those shared with you, or every user's with an
    administrator's key. A cursor works only with the same filters."""
    filters = JobFilters(
        state=state or [],
        kind=kind,
        model=model,
        owner=viewer.owner if owner == MYSELF else owner,
        name=name,
        tag=tag,
        words=q,
        labels=Labels(experiment, model_variant),
        created_after=created_after,
        created_before=created_before,
    )

    def page(connection: Connection, before: TimeAndId | None, count: int) -> list[JobOut]:
        rows = service.listing(connection, viewer, filters, limit=count, before=before)
        return views(connection, rows, viewer, slice_seconds=context.settings.lease.slice)

    scope = f"jobs {filters}"
    after = None if cursor is None else context.cursors.read(scope, cursor)
    jobs = await context.database.read_rows(page, after, limit + 1)
    return JobPage.of(jobs, limit, lambda last: context.cursors.make(scope, last.created_at, last.id))


@router.get(
    "/{job_id}",
    operation_id="getJob",
    summary="Get a job, or wait until it changes",
    response_model=JobOut,
    responses={304: {"description": "Not modified: the job is as If-None-Match says"}, **documented(404, 422)},
)
async def get_job(
    job_id: JobId,
    request: Request,
    viewer: Caller,
    context: Shared,
    wait: Annotated[
        float, Query(ge=0, description="seconds to wait for a change; the server sets the maximum", examples=[25])
    ] = 0,
    if_none_match: Annotated[str | None, Header(description="the ETag of the version you have")] = None,
    until: Annotated[Literal["change", "end"], Query(description="what `wait` waits for")] = "change",
) -> Response:
    """Returns the job. With `wait`, answers as soon as state, phase, progress or position differ from the version in If-None-Match
    (without the header: from now), or with `until=end` only once the job has ended; in both cases after `wait` seconds at the latest."""
    if wait:
        job = await reading.changed(context, request, job_id, viewer, wait, only_the_end=until == "end")
    else:
        job = await context.part(Reader).job(job_id, viewer)
    return job_response(job, request=request)


@router.patch(
    "/{job_id}",
    operation_id="editJob",
    summary="Change a job's name, tags or notes, keep its results, or share it",
    response_model=JobOut,
    responses=documented(400, 403, 404, 409, 413, 415, 422),
)
async def edit_job(
    job_id: JobId,
    body: Annotated[JobEdit, Body(examples=EDITS)],
    request: Request,
    viewer: Member,
    context: Shared,
) -> Response:
    """Changes the fields that are sent; the others and the calculation stay unchanged. The visibility of the job is also that of its results
    (calibrations, vectors, steerings, files); the jobs of a study follow the study. For its owner and administrators."""

    def change(session: Session) -> JobOut:
        return view(session, edit(session, job_id, viewer, body), viewer, slice_seconds=context.settings.lease.slice)

    return job_response(await context.database.run(change), request=request)


@router.get(
    "/{job_id}/events",
    operation_id="getJobEvents",
    summary="Get a job's history, in pages or as a stream",
    response_model=EventPage,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **documented(404, 422)},
)
async def get_events(
    job_id: JobId,
    viewer: Caller,
    context: Shared,
    after: Annotated[int | None, Query(ge=0, le=2**31 - 1, description="the last event number you have")] = None,
    limit: Limit = 200,
    accept: Annotated[str, Header(description="text/event-stream for a stream")] = "*/*",
    last_event_id: Annotated[str | None, Header(description="sent by browsers; overrides `after`")] = None,
) -> EventPage | Response:
    """Returns the job's events, in order. With `Accept: text/event-stream`, streams the events since `Last-Event-ID`, then new ones; the stream
    ends with the job, or with an event `reconnect`. Event ids are the event numbers."""
    if "text/event-stream" in accept.lower():
        given = last_event_id if last_event_id is not None else ""
        start = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else after or 0
        await context.database.read(service.find, job_id, viewer)  # a 404 must come before the stream begins
        lifetime = context.settings.limit.stream_seconds
        frames = stream(context.database, context.part(Wakeups), context.keyring, job_id, viewer, after=start, lifetime=lifetime)
        return EventSourceResponse(frames, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    events = await context.database.read(service.events, job_id, viewer, after or 0, limit + 1)
    items = [EventOut.model_validate(event, from_attributes=True) for event in events[:limit]]
    return EventPage(items=items, next_cursor=items[-1].seq if len(events) > limit else None)


@router.post(
    "/{job_id}/cancel",
    operation_id="cancelJob",
    summary="Cancel a job",
    status_code=202,
    response_model=JobOut,
    responses={200: {"description": "The job was already cancelled", **SENT}, **documented(403, 404, 409, 422)},
)
async def cancel_job(job_id: JobId, request: Request, viewer: Member, context: Shared) -> Response:
    """Cancels the job: a queued job at once; a running one is `cancelling` until its device has stopped. Finished parts are kept."""

    def cancel(session: Session) -> tuple[JobOut, bool]:
        already = service.find(session, job_id, viewer).state == State.CANCELLED
        job = service.cancel(session, job_id, viewer)
        return view(session, job, viewer, slice_seconds=context.settings.lease.slice), already

    job, already = await context.database.run(cancel)
    return job_response(job, request=request, status=200 if already else 202)


@router.post(
    "/{job_id}/retry",
    operation_id="retryJob",
    summary="Retry a failed or cancelled job",
    **creates_job(404),
)
async def retry_job(job_id: JobId, asks: Asks) -> Response:
    """Makes a new job of yours with the same spec, and with `retry_of` naming this one. The old job is not changed. You need access to
    everything that the spec refers to (409 `not_shared`)."""
    planned = await asks.context.database.run(service.retries_a_graph, job_id, asks.viewer)
    return await asks.submitted(retried, job_id, planned=planned)


@router.get(
    "/{job_id}/artifacts/{name}",
    operation_id="getArtifact",
    summary="Download a file of a job's result",
    response_class=Response,
    responses={
        200: {"description": "The file"},
        206: {"description": "The requested range"},
        304: {"description": "Not modified: you have this version"},
        307: {"description": "Redirect to the object store; the address is valid for a few minutes"},
        **documented(404, 416, 422),
    },
)
async def get_artifact(
    job_id: JobId, name: Annotated[str, Path(max_length=200)], request: Request, viewer: Caller, context: Shared
) -> Response:
    """Returns a file of the job's result. The ETag is the file's SHA-256; one Range at a time. `?proxy=1` sends the bytes through this server
    instead of a redirect."""
    return await serve_file(request, context, viewer, lambda session, who: artifact_of(session, job_id, name, who))


def artifact_of(session: Session, job_id: str, name: str, viewer: Caller) -> Artifact:
    """Returns a file of a job that the caller may see. Raises Problem 404, which mentions retention if retention removed the file."""
    job = service.find(session, job_id, viewer)
    artifact = repository.artifact(session, job_id, name)
    if artifact is None and job.results_removed_at is not None:
        detail = f"{job_id}'s files were removed on {job.results_removed_at:%Y-%m-%d}, because the job was not kept. Submit its spec again."
        raise Problem(404, "results_removed", detail)
    if artifact is None:
        raise not_found("artifact", f"{name} of {job_id}")
    return artifact
