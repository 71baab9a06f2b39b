"""Builds the API's view of a job (`JobOut`) from its row, files, warnings and queue position."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.db import Rows
from app.jobs import repository
from app.jobs.kinds import kind_named
from app.jobs.measures import with_names
from app.jobs.models import Job
from app.jobs.repository import ArtifactRow, Warned
from app.jobs.schemas import ArtifactOut, JobOut, Progress
from app.jobs.standing import Standing, standings
from app.jobs.states import FINISHED, State
from app.jobs.turns import lane_of, queue_of
from terms.values import JsonObject

WAITING = "waiting"
"""The phase shown for a queued job that waits for unfinished jobs."""
NO_STANDING = Standing()
"""The standing of a job that is neither queued nor loading its model."""


def views(session: Rows, rows: Sequence[Warned], viewer: Viewer, *, slice_seconds: float) -> list[JobOut]:
    """Returns each job as the viewer may see it, with its queue position, files and links. The number of SQL statements is fixed."""
    jobs = [job for job, _ in rows]
    finished = [job.id for job in jobs if job.state in FINISHED]
    files = repository.artifacts(session, finished) if finished else {}
    standing = standings(session, jobs, viewer, slice_seconds=slice_seconds)
    return [_view(job, files.get(job.id, ()), standing.get(job.id, NO_STANDING), warned) for job, warned in rows]


def view(session: Session, job: Job, viewer: Viewer, *, slice_seconds: float, warnings: Sequence[str] | None = None) -> JobOut:
    """Returns the job as the viewer may see it. `warnings`: those of its submission, if the caller already has them."""
    if warnings is None:
        warnings = repository.warnings(session, [job.id]).get(job.id, ())  # none for a job that was deleted meanwhile
    return views(session, [Warned(job, warnings)], viewer, slice_seconds=slice_seconds)[0]


def _view(job: Job, files: Sequence[ArtifactRow], standing: Standing, warnings: Sequence[str]) -> JobOut:
    return JobOut(
        id=job.id, kind=job.kind, name=job.name, tags=job.tags, notes=job.notes, keep=job.kept, webhook=job.webhook,
        results_removed_at=job.results_removed_at, state=job.state,
        phase=WAITING if job.state == State.QUEUED and job.blockers else job.phase,
        progress=Progress(done=job.progress_done, total=job.progress_total, unit=job.progress_unit),
        queue_position=standing.position, position=standing.position, waiting_for=list(standing.after), waits_because=standing.reason,
        queue=queue_of(job), lane=lane_of(job), eta_at=job.eta_at, attempt=job.attempt, losses=job.losses,
        warnings=list(warnings), spec=job.spec, model=job.model,
        owner=job.owner, visibility=job.visibility, group=job.group_name,
        priority=job.priority, retry_of=job.retry_of, worker=job.worker_id, created_at=job.created_at,
        started_at=job.started_at, finished_at=job.finished_at, cancel_requested_at=job.cancel_requested_at, error=job.error,
        result=with_names(job.result) if job.result is not None and kind_named(job.kind).measures else job.result,
        artifacts=[_file(job.id, file) for file in files], metrics=_metrics(job), links=_links(job),
    )  # fmt: skip


def _file(job_id: str, file: ArtifactRow) -> ArtifactOut:
    href = f"/v1/jobs/{job_id}/artifacts/{file.name}"
    return ArtifactOut(name=file.name, size=file.size, media_type=file.media_type, sha256=file.digest, href=href)


def _metrics(job: Job) -> JsonObject:
    return {"device_seconds": round(job.device_seconds, 3), "peak_bytes": job.peak_bytes, **job.metrics}


def _links(job: Job) -> dict[str, str]:
    own = {"self": f"/v1/jobs/{job.id}", "events": f"/v1/jobs/{job.id}/events"}
    if job.state in (State.QUEUED, State.RUNNING):
        own["cancel"] = f"/v1/jobs/{job.id}/cancel"
    if job.state in (State.FAILED, State.CANCELLED):
        own["retry"] = f"/v1/jobs/{job.id}/retry"
    return own | (kind_named(job.kind).links(job) if job.state == State.SUCCEEDED else {})
