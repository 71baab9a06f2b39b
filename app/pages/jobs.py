"""Shows a job's page, in one layout for every kind: the answer, then Why, Cost, Files, Repeat and History."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypedDict

from fastapi import Query, Request, Response

from app.auth.viewer import Viewer
from app.etags import etag_of, names_etag
from app.http.context import Context, Shared
from app.http.downloads import serve_file
from app.jobs import reading, repository, service
from app.jobs.routes import JobId, artifact_of
from app.jobs.schemas import JobOut
from app.jobs.states import FINISHED, State
from app.pages import sentences
from app.pages.answers import answer
from app.pages.devices import holds_in_words
from app.pages.doors import Reader, page_router
from app.pages.finding import sections
from app.pages.forms.again import form_of
from app.pages.forms.labels import labelled
from app.pages.histories import early_end, entries
from app.pages.rendering import HEADERS, base_of, page
from app.pages.repeats import MOST, repeats, specification
from app.pages.results.study import View
from app.status import repository as fleet
from app.storage.disposition import attachment
from app.studies import service as studies

router = page_router()

WAIT_SECONDS = 20
"""Seconds for which a poll for an unfinished job is held while nothing changes."""
EVENTS = 200
Way = Annotated[str, Query(max_length=40)]
"""How a study's plots match its methods, or which of its further tables is open."""
OfModel = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
"""The model shown in a study's plots and tables."""


@dataclass(frozen=True)
class Node:
    """A job of a study. `job` is None if the viewer may not see it."""

    job: str | None
    state: State | None
    words: str


class Standing(TypedDict):
    """What `standing.jinja` shows: the head of a job's page. `again`: the form that makes such a job; `may`: the viewer may change the job."""

    job: JobOut
    title: str
    standing: str
    reason: str
    live: bool
    etag: str
    again: str | None
    may: bool
    may_cancel: bool
    may_retry: bool
    may_delete: bool


@router.get("/jobs/{job_id}")
async def job_page(
    job_id: JobId, request: Request, viewer: Reader, context: Shared, way: Way = "best", model: OfModel = "", table: Way = ""
) -> Response:
    """Shows a job of any kind. 404 if the viewer may not see it."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    drawn = await sections(context, job, View(way, model, table))
    nodes = await _nodes(context, job, viewer)
    events = await context.database.read(service.events, job_id, viewer, 0, EVENTS)
    ended = await context.database.read(repository.early_end, job_id)
    return page(
        request,
        "job.jinja",
        **await _standing(context, job, viewer),
        answer=answer(job, drawn.aggregate),
        warnings=[labelled(form_of(job), warning) for warning in job.warnings],
        why=drawn.why,
        cost=drawn.cost,
        nodes=nodes,
        all_succeeded=all(node.state == State.SUCCEEDED for node in nodes),
        repeats=repeats(job, base_of(request)),
        shown=MOST,
        whole=len(specification(job)),
        history=entries(events),
        early_end=early_end(job, ended) if ended is not None else "",
        most=EVENTS,
    )


@router.get("/parts/jobs/{job_id}")
async def job_part(job_id: JobId, request: Request, viewer: Reader, context: Shared) -> Response:
    """Returns the standing of an unfinished job as soon as it changes; when the job has ended, the whole page is reloaded."""
    job = await reading.changed(context, request, job_id, viewer, WAIT_SECONDS)
    etag = etag_of(job.model_dump_json().encode())
    if job.state in FINISHED:
        return Response(headers={**HEADERS, "HX-Refresh": "true"})
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=HEADERS)
    return page(request, "standing.jinja", **await _standing(context, job, viewer))


@router.get("/jobs/{job_id}/specification.json")
async def job_specification(job_id: JobId, viewer: Reader, context: Shared) -> Response:
    """Downloads the whole specification; the job's page shows only its beginning. 404 if the viewer may not see the job."""
    job = await context.part(reading.Reader).job(job_id, viewer)
    headers = {**HEADERS, "Content-Disposition": attachment(f"{job_id}.specification.json")}
    return Response(specification(job), media_type="application/json", headers=headers)


@router.get("/jobs/{job_id}/files/{name}")
async def job_file(job_id: JobId, name: str, request: Request, viewer: Reader, context: Shared) -> Response:
    """Downloads a file of the job's result. 404 if the viewer may not see the job."""
    return await serve_file(request, context, viewer, lambda session, who: artifact_of(session, job_id, name, who))


async def _nodes(context: Context, job: JobOut, viewer: Viewer) -> list[Node]:
    """Returns the jobs of a study, each in words."""
    if job.kind != "report":
        return []
    study = await context.database.read(studies.find, job.id, viewer)
    return [
        Node(node.job, node.state, f"{node.kind} {node.trait or ''} {node.model}, {node.state or ''}")
        for node in study.nodes.values()
        if node.kind != "report"
    ]


async def _standing(context: Context, job: JobOut, viewer: Viewer) -> Standing:
    """Returns the head of the page; for a job that waits for paused workers, with the administrators' reasons."""
    standing = standing_of(job, viewer)
    if job.waits_because is None or job.waits_because.code != "workers_held":
        return standing
    workers = await context.database.read(fleet.workers, viewer, lease_seconds=context.settings.lease.ttl)
    return {**standing, "reason": holds_in_words(workers, job.queue)}


def standing_of(job: JobOut, viewer: Viewer) -> Standing:
    """Returns the content of the head of the page."""
    may = viewer.may("submit") and viewer.manages(job.owner)
    form = form_of(job) if viewer.may("submit") else None
    return {
        "job": job,
        "title": sentences.title(job),
        "standing": sentences.standing(job, datetime.now(UTC)),
        "reason": _reason(job),
        "live": job.state not in FINISHED,
        "etag": "" if job.state in FINISHED else etag_of(job.model_dump_json().encode()),
        "may": may,
        "again": None if form is None else form.kind,
        "may_cancel": may and job.state in (State.QUEUED, State.RUNNING),
        "may_retry": may and job.state in (State.FAILED, State.CANCELLED),
        "may_delete": may and job.state in FINISHED,
    }


def _reason(job: JobOut) -> str:
    """Returns why the job waits, in the service's words; reasons about other jobs contain ids and appear only in History."""
    waits = job.waits_because
    return "" if waits is None or waits.code == "after_jobs" else waits.detail
