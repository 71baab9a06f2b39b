"""What is particular about a study's Job: it is the last of a graph, so cancelling and retrying it concern the graph."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.errors import Problem
from app.jobs.kinds import Kind
from app.jobs.models import Job
from app.jobs.service import cancel
from app.jobs.states import FINISHED, State
from app.jobs.submission import Idempotency, Submitted
from app.jobs.transitions import note
from app.studies.models import Study

WIDTH = ("private", "group", "public")
"""From the fewest who see it to the most."""


def _record(session: Session, job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    study = session.scalars(select(Study).where(Study.job_id == job.id)).one()
    return {"study": {"id": study.id, **outcome["study"]}}


def _links(job: Job) -> dict[str, str]:
    own = f"/v1/studies/{job.id}"
    return {
        "result": own,
        "report.html": f"{own}/report.html",
        "report.md": f"{own}/report.md",
        "tables.json": f"{own}/tables.json",
        "labelling.csv": f"{own}/labelling.csv",
    }


def _cancelled(session: Session, job: Job, viewer: Viewer) -> bool:
    """Cancels the study's own unfinished jobs; the report then still runs on what there is. With none left, the report itself is cancelled.

    The jobs before the report are locked before it, in the order in which they finish and release it.
    """
    study = session.scalars(select(Study).where(Study.job_id == job.id)).one_or_none()
    if study is None or job.state != State.QUEUED:
        return False
    own = [node["job"] for node in study.nodes.values() if not node["reused"]]
    unfinished = session.scalars(select(Job.id).where(Job.id.in_(own), Job.state.not_in(list(FINISHED)), Job.id != job.id)).all()
    if not unfinished:
        return False
    for node in sorted(unfinished, reverse=True):  # the last first: what waits is not failed for what it waits for
        try:
            cancel(session, node, viewer)
        except Problem as problem:  # it finished in this moment
            if problem.status != 409:
                raise
    note(session, job.id, "graph_cancelled", {"by": viewer.owner, "jobs": len(unfinished)})
    session.refresh(job)
    return True


def _retried(session: Session, job: Job, viewer: Viewer, request_id: str | None, promise: Idempotency | None) -> Submitted | None:
    """A new study: new jobs for those that failed, the rest as it is."""
    from app.studies.service import retry_graph

    study = session.scalars(select(Study).where(Study.job_id == job.id)).one()
    return retry_graph(session, study, viewer, promise, request_id)


def _followers(session: Session, job: Job, to: Sharing) -> list[Job]:
    """The jobs that were made for the study, and those of its owner's that it found finished where they would be shown to fewer.

    They are locked in the order in which they finish and release each other, the report last: no transaction waits in a circle.
    """
    study = session.scalars(select(Study).where(Study.job_id == job.id)).one_or_none()
    placed = sorted(study.nodes.values(), key=lambda node: int(node["place"])) if study is not None else []
    found = []
    for node in placed:
        one = session.get(Job, node["job"], with_for_update=True)
        if one is None:  # deleted
            continue
        wider = WIDTH.index(to.visibility) > WIDTH.index(one.visibility)
        if one.owner == job.owner and (wider or not node["reused"]):
            found.append(one)
    return found


def _parts(session: Session, job: Job) -> Sequence[str]:
    """The jobs that were made for the study."""
    study = session.scalars(select(Study).where(Study.job_id == job.id)).one_or_none()
    own = [node["job"] for node in study.nodes.values() if not node["reused"]] if study is not None else []
    return session.scalars(select(Job.id).where(Job.id.in_(own), Job.owner == job.owner)).all()


REPORT = Kind("report", 1, _record, _links, cancelled=_cancelled, retried=_retried, followers=_followers, parts=_parts)
