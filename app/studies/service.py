"""What the API does to studies: submit every job of the graph in one transaction, show it, retry what failed, take labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.sharing import Sharing, require_management
from app.auth.viewer import Viewer
from app.errors import Problem, not_found
from app.ids import new_id
from app.jobs import repository as job_repository
from app.jobs import service as jobs
from app.jobs.absence import absent
from app.jobs.models import Artifact, Job
from app.jobs.planned import planning
from app.jobs.references import not_shared
from app.jobs.reuse import find_reusable
from app.jobs.schemas import Edge
from app.jobs.states import State
from app.jobs.submission import Asker, Idempotency, Submission, Submitted
from app.jobs.submitting import ABOUT_THE_JOB, Answer, Placed, answer, check_admissible, check_edges, promised, sharing_of
from app.models import repository as model_repository
from app.planner import still_wanted
from app.quotas.admission import admission
from app.settings import Settings
from app.settled import asked_once
from app.studies import repository
from app.studies.models import Study
from app.studies.planning import arithmetic, nodes_of, place_node, price
from app.studies.results import StudyCost, StudyOut, view
from app.studies.schemas import LabelsIn, StudyRequest
from app.text import stored
from app.webhooks import naming as webhooks
from terms.values import JsonObject


@dataclass(frozen=True)
class _Span:
    """Seconds that the report may run in all, and without a sign of progress."""

    longest: float
    stall: float


@dataclass(frozen=True)
class _Report:
    """A report to submit: of which study, over the jobs of which nodes, shown to whom; `about` says what the caller named it."""

    study: JsonObject
    placed: Mapping[str, Mapping[str, Any]]
    about: StudyRequest
    to: Sharing
    span: _Span
    retry_of: Job | None = None
    labels: Mapping[str, float] | None = None
    warnings: Sequence[str] = ()

    @property
    def job_spec(self) -> JsonObject:
        """What the report is calculated from."""
        kept = ("place", "job", "kind", "model", "trait")
        return {
            "kind": "report",
            "study": {key: value for key, value in self.study.items() if key not in ABOUT_THE_JOB},
            "nodes": {name: {key: node[key] for key in kept} for name, node in self.placed.items()},
            "labels": None if self.labels is None else dict(sorted(self.labels.items())),
        }


def estimate(session: Session, request: StudyRequest, viewer: Viewer, settings: Settings, reuse: bool) -> StudyCost:
    """What the study would run: every job is priced, and checked as its submission checks it. Writes nothing."""
    costs = []
    with planning(session) as made, asked_once(session):
        check_admissible(session, request, check_edges(session, request, viewer), viewer)
        known: dict[str, str] = {}
        for node in nodes_of(session, request, settings.limit):
            still_wanted(session)
            placed = place_node(session, Asker(viewer, settings), node, known, request, reuse)
            cost = price(session, node, known, request, viewer, settings)
            known[node.name] = placed.job.id
            costs.append({"node": node.name, "kind": node.kind, "reused": placed.reused, **cost})
    run = [one for one in costs if not one["reused"]]
    seconds = [one.get("estimated_seconds") for one in run]
    left_out = len(request.models) - sum(one["kind"] == "calibrate" for one in costs)
    unregistered = f"; models not registered and left out: {left_out}" if left_out else ""
    return StudyCost(
        jobs=len(run) + 1,
        reused=len(costs) - len(run),
        nodes=costs,
        estimated_seconds=None if None in seconds else round(sum(s for s in seconds if s is not None), 1),
        warnings=list(dict.fromkeys(warning for one in costs for warning in one.get("warnings", ()))),
        arithmetic=f"{arithmetic(request)[1]}; {len(run) + 1} of these jobs will run{unregistered}",
        limit=settings.limit.study_jobs,
        admission=admission(session, viewer.owner, jobs=len(made) + 1),
    )


def submit(session: Session, asker: Asker, request: StudyRequest, reuse: bool = False) -> Answer:
    """The whole graph in one transaction, or nothing of it."""
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    check_admissible(session, request, check_edges(session, request, asker.viewer), asker.viewer)
    placed: dict[str, JsonObject] = {}
    with asked_once(session):
        for node in nodes_of(session, request, asker.settings.limit):
            still_wanted(session)
            known = {name: one["job"] for name, one in placed.items()}
            made_of = place_node(session, asker, node, known, request, reuse)
            placed[node.name] = {
                "place": len(placed),
                "job": made_of.job.id,
                "kind": node.kind,
                "model": node.model,
                "trait": node.trait,
                "reused": made_of.reused,
            }
    spec = request.model_dump(mode="json")
    report = _Report(spec, placed, request, sharing_of(request), _span(asker.settings), warnings=_warnings(session, placed))
    if reuse:
        finished = find_reusable(session, "report", report.job_spec, asker.viewer)
        if finished is not None:
            return answer(session, asker, Placed(finished, reused=True))
    return answer(session, asker, _submitted(session, report, asker.viewer, asker.promise, asker.request_id))


def _warnings(session: Session, placed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the submissions of the graph's jobs warned of, each once."""
    of_jobs = job_repository.warnings(session, [node["job"] for node in placed.values()])
    return list(dict.fromkeys(warning for node in placed.values() for warning in of_jobs.get(node["job"], ())))


def _submitted(session: Session, report: _Report, viewer: Viewer, promise: Idempotency | None, request_id: str | None) -> Placed:
    """The report's job, after all that it reports on, and the row of its study."""
    about, span, old = report.about, report.span, report.retry_of
    anew = old is None and report.labels is None
    made = jobs.submit(
        session,
        Submission(
            kind="report", spec=report.job_spec, owner=viewer.owner, viewer=viewer, job_class="light",
            after=[Edge(job=job, needs="end") for job in dict.fromkeys(node["job"] for node in report.placed.values())],
            name=about.name, tags=about.tags, notes=about.notes, priority=about.priority,
            webhook=about.webhook if anew else webhooks.usable(session, about.webhook),
            max_seconds=span.longest, stall_seconds=span.stall, request_id=request_id, idempotency=promise, sharing=report.to,
            warnings=report.warnings, retry_of=None if old is None else old.id,
        ),
    )  # fmt: skip
    if not made.replayed:
        nodes = {name: dict(node) for name, node in report.placed.items()}
        row = Study(id=new_id("std"), job_id=made.job.id, owner=viewer.owner, title=about.name, spec=report.study, nodes=nodes)
        session.add(row)
        session.flush()
    return Placed(made.job, replayed=made.replayed)


def retry(session: Session, asker: Asker, identifier: str) -> Answer:
    """A new study of the same spec: new jobs for what failed or was cancelled, the rest as it is. Raises Problem 403, 404, 409."""
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    study = _find(session, identifier, asker.viewer)
    require_management(asker.viewer, study.owner, identifier)
    made = retry_graph(session, study, asker.viewer, asker.promise, asker.request_id)
    return answer(session, asker, Placed(made.job, made.replayed))


def retry_graph(session: Session, study: Study, viewer: Viewer, promise: Idempotency | None, request_id: str | None) -> Submitted:
    """What `retry` does once the study is found; also what retrying its Job means. Every new job is the caller's.

    Raises Problem 409 when there is nothing to do again, or when the caller may not use one of its jobs now.
    """
    graph = _usable_graph(session, study, viewer)
    ended_badly = [name for name in study.nodes if graph[name].state in (State.FAILED, State.CANCELLED)]
    unfinished = [name for name in study.nodes if graph[name].state in (State.QUEUED, State.RUNNING, State.CANCELLING)]
    if unfinished:
        detail = (
            f"{len(unfinished)} jobs of the study have not ended ({unfinished[0]}, ...). Wait for them or cancel the study first."
        )
        raise Problem(409, "study_not_over", detail)
    if not ended_badly and graph["report"].state == State.SUCCEEDED:
        raise Problem(409, "job_not_retryable", "Every job of the study succeeded; there is nothing to retry.")
    about, report = stored(StudyRequest, study.spec), graph["report"]
    to, span = jobs.kept_sharing(session, report, viewer), _Span(report.max_seconds, report.stall_seconds)
    names: dict[str, str] = {}
    placed: dict[str, JsonObject] = {}
    for name, node in sorted(study.nodes.items(), key=lambda item: int(item[1]["place"])):  # what comes first is renamed first
        old = graph[name]
        if name in ended_badly:
            names[old.id] = jobs.again(session, old, viewer, to, request_id, renamed=names).job.id
        placed[name] = node | {"job": names.get(old.id, old.id), "reused": old.id not in names}
    again = _Report(study.spec, placed, about, to, span, retry_of=report)
    made = _submitted(session, again, viewer, promise, request_id)
    if viewer.owner != study.owner and not made.replayed:
        audit.record(session, viewer, "job.retry", report.id, owner=study.owner, made=made.job.id)
    return Submitted(made.job, made.replayed)


def _usable_graph(session: Session, study: Study, viewer: Viewer) -> dict[str, Job]:
    """The study's jobs by node. Raises Problem 409 when the caller may not see all of them now."""
    graph = repository.jobs_of(session, study, viewer)
    hidden = [name for name in study.nodes if name not in graph]
    if hidden:
        raise not_shared(study.id, "consists of", hidden)
    return graph


def label(session: Session, asker: Asker, identifier: str, request: LabelsIn) -> Answer:
    """The same study's report written again with a person's labels of its sheet: a new study of the same jobs.

    Raises Problem 404, and 409 while the report is not written or when the caller may not see one of the jobs now.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    study = _find(session, identifier, asker.viewer)
    if _usable_graph(session, study, asker.viewer)["report"].state != State.SUCCEEDED:
        raise Problem(
            409, "study_not_over", "The study's report is not written yet, so there is no labelling sheet for these labels."
        )
    placed = {name: node | {"reused": True} for name, node in study.nodes.items()}
    about = stored(StudyRequest, study.spec)
    report = _Report(study.spec, placed, about, Sharing(), _span(asker.settings), labels=request.labels)
    return answer(session, asker, _submitted(session, report, asker.viewer, asker.promise, asker.request_id))


def _span(settings: Settings) -> _Span:
    return _Span(settings.limit.job_seconds, settings.lease.stall)


def _find(session: Session, identifier: str, viewer: Viewer) -> Study:
    study = repository.find(session, identifier, viewer)
    if study is None:
        raise not_found("study", identifier)
    return study


def find(session: Session, identifier: str, viewer: Viewer) -> StudyOut:
    """By its own id or its Job's. Raises Problem 404."""
    return _view(session, _find(session, identifier, viewer), viewer)


def listing(session: Session, viewer: Viewer, *, limit: int, before: tuple[datetime, str] | None) -> Sequence[StudyOut]:
    """A page of studies, newest first."""
    return [_view(session, study, viewer) for study in repository.listing(session, viewer, limit=limit, before=before)]


def _view(session: Session, study: Study, viewer: Viewer) -> StudyOut:
    models = model_repository.named(session, {node["model"] for node in study.nodes.values()})
    return view(study, repository.jobs_of(session, study, viewer), models)


def file(session: Session, identifier: str, name: str, viewer: Viewer) -> Artifact:
    """A file of the study's report. Raises Problem 404, and 409 while the report is not written."""
    study = _find(session, identifier, viewer)
    artifact = job_repository.artifact(session, study.job_id, name)
    if artifact is None:
        raise absent(session, name, study.job_id, viewer, "report")
    return artifact
