"""Submits the report at the end of a study's graph: its job, and the row of the study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy.orm import Session

from app.auth.sharing import Sharing
from app.ids import new_id
from app.jobs import service as jobs
from app.jobs.schemas import Edge
from app.jobs.submission import Asker, Submission, Submitted
from app.jobs.submitting import ABOUT_THE_JOB
from app.studies.models import Study
from app.studies.schemas import StudyRequest
from app.webhooks import naming as webhooks
from terms.documents.study import StudyNode
from terms.specs import Node, ReportSpec, StudySpec
from terms.values import JsonObject


@dataclass(frozen=True)
class Report:
    """A report to submit. `nodes` are the jobs that it reports on.

    `stored` is the study's request as its row holds it, perhaps written by an earlier version; `request` is the same request in this
    version's form, for a retried or labelled study with the name, tags, notes and webhook that were edited. `retry_of` is the job of the report
    that this one replaces, `labels` a person's scores of texts by their ids.
    """

    stored: JsonObject
    request: StudyRequest
    nodes: Mapping[str, StudyNode]
    sharing: Sharing
    max_seconds: float
    stall_seconds: float
    retry_of: str | None = None
    labels: Mapping[str, float] | None = None
    warnings: Sequence[str] = ()

    @property
    def spec(self) -> ReportSpec:
        """Returns the spec that determines the report."""
        return {
            "kind": "report",
            "study": cast(StudySpec, {key: value for key, value in self.stored.items() if key not in ABOUT_THE_JOB}),
            "nodes": {name: _in_spec(node) for name, node in self.nodes.items()},
            "labels": None if self.labels is None else dict(sorted(self.labels.items())),
        }

    @property
    def of_a_new_study(self) -> bool:
        """Returns whether the request was just sent, and so was checked as a whole."""
        return self.retry_of is None and self.labels is None


def _in_spec(node: StudyNode) -> Node:
    """Returns the node without fields that do not change the report: whether its job existed before the study."""
    return {"place": node["place"], "job": node["job"], "kind": node["kind"], "model": node["model"], "trait": node["trait"]}


def submit(session: Session, asker: Asker, report: Report) -> Submitted:
    """Submits the report's job, which waits for the end of each job it reports on, and inserts the study's row. A replay inserts no row."""
    request, viewer = report.request, asker.viewer
    made = jobs.submit(
        session,
        Submission(
            kind="report", spec=report.spec, owner=viewer.owner, viewer=viewer, job_class="light",
            after=[Edge(job=job, needs="end") for job in dict.fromkeys(node["job"] for node in report.nodes.values())],
            name=request.name, tags=request.tags, notes=request.notes, priority=request.priority,
            webhook=request.webhook if report.of_a_new_study else webhooks.usable(session, request.webhook),
            max_seconds=report.max_seconds, stall_seconds=report.stall_seconds, request_id=asker.request_id, idempotency=asker.promise,
            sharing=report.sharing, warnings=report.warnings, retry_of=report.retry_of,
        ),
    )  # fmt: skip
    if not made.replayed:
        nodes = dict(report.nodes)
        row = Study(id=new_id("std"), job_id=made.job.id, owner=viewer.owner, title=request.name, spec=report.stored, nodes=nodes)
        session.add(row)
        session.flush()
    return made
