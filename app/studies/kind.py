"""The kind of a study's report job: the last job of a graph, so cancelling and retrying act on the graph."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.auth.sharing import Sharing
from app.auth.viewer import Viewer
from app.jobs.kinds import Kind, Usable
from app.jobs.locks import lock_ending, lock_jobs
from app.jobs.models import Job
from app.jobs.repository import made_by_visible
from app.jobs.service import cancel, reread
from app.jobs.states import FINISHED, State
from app.jobs.submission import Asker, Submitted
from app.jobs.transitions import note
from app.studies.models import Study, in_order
from terms.documents.study import StudyResult

WIDTH = ("private", "group", "public")
"""Visibilities from the narrowest to the widest."""


def _usable(viewer: Viewer) -> ColumnElement[bool]:
    return made_by_visible(Study.job_id, viewer)


class Report(Kind[StudyResult]):
    """The kind `report`, the last job of a graph: cancelling, retrying, sharing and deleting act on the graph."""

    name = "report"
    handler_version = 2
    retries_a_graph = True

    def record(self, session: Session, job: Job, outcome: StudyResult) -> StudyResult:
        study = session.scalars(select(Study).where(Study.job_id == job.id)).one()
        return {"study": {"id": study.id, **outcome["study"]}}

    def links(self, job: Job) -> dict[str, str]:
        own = f"/v1/studies/{job.id}"
        return {
            "result": own,
            "report.html": f"{own}/report.html",
            "report.md": f"{own}/report.md",
            "tables.json": f"{own}/tables.json",
            "labelling.csv": f"{own}/labelling.csv",
        }

    def usable(self) -> Mapping[str, Usable]:
        return {"std": (Study.id, _usable)}

    def cancelled(self, session: Session, job: Job, viewer: Viewer) -> bool:
        """Cancels the study's own unfinished jobs; the report then still runs on the results so far.

        If no job is left, the report itself is cancelled. Jobs that are already being cancelled are skipped, so repeating the request adds
        nothing to the history.
        """
        study = session.scalars(select(Study).where(Study.job_id == job.id)).one_or_none()
        if study is None or job.state != State.QUEUED:
            return False
        own = [node["job"] for node in study.nodes.values() if not node["reused"]]
        lock_ending(session, [*own, job.id], fails=True)
        unfinished = session.execute(select(Job.id, Job.state).where(Job.id.in_(own), Job.state.not_in(list(FINISHED)))).all()
        if not unfinished:
            return False
        open_jobs = {row.id for row in unfinished if row.state != State.CANCELLING}
        nodes = [job_id for _, node in reversed(in_order(study.nodes)) if (job_id := node["job"]) in open_jobs]
        # in reverse order, so that waiting jobs are cancelled, and do not fail because of the job they wait for
        for node in nodes:
            cancel(session, node, viewer)
        if nodes:
            note(session, job.id, "graph_cancelled", {"by": viewer.owner, "jobs": len(nodes)})
        reread(session, job)
        return True

    def retried(self, session: Session, job: Job, asker: Asker) -> Submitted | None:
        """Submits a new study: new jobs for those that failed, the other jobs unchanged."""
        from app.studies.service import retry_graph

        study = session.scalars(select(Study).where(Study.job_id == job.id)).one()
        return retry_graph(session, asker, study)

    def followers(self, session: Session, job: Job, to: Sharing) -> list[Job]:
        """Returns the jobs submitted for the study, and its owner's earlier jobs that it reused if sharing makes them more visible.

        Locks all of them and the report first.
        """
        study = session.scalars(select(Study).where(Study.job_id == job.id)).one_or_none()
        placed = [node for _, node in in_order(study.nodes)] if study is not None else []
        lock_jobs(session, [job.id, *(node["job"] for node in placed)])
        followers = []
        for node in placed:
            node_job = session.get(Job, node["job"], populate_existing=True)
            if node_job is None:  # the job was deleted
                continue
            wider = WIDTH.index(to.visibility) > WIDTH.index(node_job.visibility)
            if node_job.owner == job.owner and (wider or not node["reused"]):
                followers.append(node_job)
        return followers

    def parts(self, session: Session, job: Job) -> Sequence[str]:
        """Returns the ids of the jobs that were submitted for the study."""
        study = session.scalars(select(Study).where(Study.job_id == job.id)).one_or_none()
        own = [node["job"] for node in study.nodes.values() if not node["reused"]] if study is not None else []
        return session.scalars(select(Job.id).where(Job.id.in_(own), Job.owner == job.owner)).all()


REPORT = Report()
