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
from app.jobs.schemas import Edge, JobOut
from app.jobs.states import State
from app.jobs.submission import Idempotency, Submission, Submitted
from app.jobs.submitting import ABOUT_THE_JOB, Answer, check_admissible, check_edges, sharing_of
from app.jobs.views import views
from app.models import repository as model_repository
from app.planner import still_wanted
from app.quotas.admission import admission
from app.settings import Settings
from app.settled import asked_once
from app.studies import repository
from app.studies.models import Study
from app.studies.planning import arithmetic, nodes_of, place_node, price
from app.studies.results import StudyCost, StudyOut, view
from app.studies.schemas import StudyRequest
from app.text import stored
from app.webhooks import naming as webhooks


@dataclass(frozen=True)
class _Span:
    """Seconds that the report may run in all, and without a sign of progress."""

    longest: float
    stall: float


@dataclass(frozen=True)
class _Reported:
    """A study's Job: made now, earlier under the same key, or finished before with the same spec."""

    job: Job
    replayed: bool = False
    reused: bool = False


def estimate(session: Session, request: StudyRequest, viewer: Viewer, settings: Settings, reuse: bool) -> StudyCost:
    """What the study would run: every job is priced, and checked as its submission checks it. Writes nothing."""
    costs = []
    with planning(session) as made, asked_once(session):
        check_admissible(session, request, check_edges(session, request, viewer), viewer)
        known: dict[str, str] = {}
        for node in nodes_of(session, request, settings.limit):
            still_wanted(session)
            placed = place_node(session, node, known, request, viewer, settings, "", reuse)
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


def submit(
    session: Session,
    request: StudyRequest,
    viewer: Viewer,
    settings: Settings,
    promise: Idempotency | None,
    request_id: str,
    reuse: bool,
) -> Answer:
    """The whole graph in one transaction, or nothing of it."""
    earlier = None if promise is None else jobs.promised(session, viewer.owner, promise)
    if earlier is not None:
        return Answer(_shown(session, earlier, viewer, settings), replayed=True)
    check_admissible(session, request, check_edges(session, request, viewer), viewer)
    placed: dict[str, dict[str, Any]] = {}
    with asked_once(session):
        for node in nodes_of(session, request, settings.limit):
            still_wanted(session)
            known = {name: one["job"] for name, one in placed.items()}
            made_of = place_node(session, node, known, request, viewer, settings, request_id, reuse)
            placed[node.name] = {
                "place": len(placed),
                "job": made_of.job.id,
                "kind": node.kind,
                "model": node.model,
                "trait": node.trait,
                "reused": made_of.reused,
            }
    spec = request.model_dump(mode="json")
    made = _report(
        session, spec, placed, viewer, _span(settings), promise, request_id, request, sharing_of(request), reuse=reuse,
        warnings=_warnings(session, placed),
    )  # fmt: skip
    return _answer(session, made, viewer, settings)


def _warnings(session: Session, placed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the submissions of the graph's jobs warned of, each once."""
    of_jobs = job_repository.warnings(session, [node["job"] for node in placed.values()])
    return list(dict.fromkeys(warning for node in placed.values() for warning in of_jobs.get(node["job"], ())))


def _report(
    session: Session,
    spec: dict[str, Any],
    placed: Mapping[str, Mapping[str, Any]],
    viewer: Viewer,
    span: _Span,
    promise: Idempotency | None,
    request_id: str | None,
    about: StudyRequest,
    to: Sharing,
    *,
    reuse: bool = False,
    retry_of: Job | None = None,
    labels: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> _Reported:
    shown = {key: value for key, value in spec.items() if key not in ABOUT_THE_JOB}
    nodes = {name: {key: node[key] for key in ("place", "job", "kind", "model", "trait")} for name, node in placed.items()}
    job_spec = {
        "kind": "report",
        "study": shown,
        "nodes": nodes,
        "labels": None if labels is None else dict(sorted(labels.items())),
    }
    if reuse:
        finished = find_reusable(session, "report", job_spec, viewer)
        if finished is not None:
            return _Reported(finished, reused=True)
    webhook = about.webhook if retry_of is None and labels is None else webhooks.usable(session, about.webhook)
    made = jobs.submit(
        session,
        Submission(
            kind="report", spec=job_spec, owner=viewer.owner, viewer=viewer, job_class="light",
            after=[Edge(job=job, needs="end") for job in dict.fromkeys(node["job"] for node in placed.values())],
            name=about.name, tags=about.tags, notes=about.notes, webhook=webhook, priority=about.priority, max_seconds=span.longest,
            stall_seconds=span.stall, request_id=request_id, idempotency=promise, sharing=to, warnings=warnings,
            retry_of=None if retry_of is None else retry_of.id,
        ),
    )  # fmt: skip
    if not made.replayed:
        session.add(
            Study(
                id=new_id("std"),
                job_id=made.job.id,
                owner=viewer.owner,
                title=about.name,
                spec=spec,
                nodes={k: dict(v) for k, v in placed.items()},
            )
        )
        session.flush()
    return _Reported(made.job, replayed=made.replayed)


def retry(
    session: Session, identifier: str, viewer: Viewer, settings: Settings, promise: Idempotency | None, request_id: str
) -> Answer:
    """A new study of the same spec: new jobs for what failed or was cancelled, the rest as it is. Raises Problem 403, 404, 409."""
    earlier = None if promise is None else jobs.promised(session, viewer.owner, promise)
    if earlier is not None:
        return Answer(_shown(session, earlier, viewer, settings), replayed=True)
    study = _find(session, identifier, viewer)
    require_management(viewer, study.owner, identifier)
    return _answer(session, retry_graph(session, study, viewer, promise, request_id), viewer, settings)


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
    placed: dict[str, dict[str, Any]] = {}
    for name, node in sorted(study.nodes.items(), key=lambda item: int(item[1]["place"])):  # what comes first is renamed first
        old = graph[name]
        if name in ended_badly:
            names[old.id] = jobs.again(session, old, viewer, to, request_id, renamed=names).job.id
        placed[name] = node | {"job": names.get(old.id, old.id), "reused": old.id not in names}
    made = _report(session, study.spec, placed, viewer, span, promise, request_id, about, to, retry_of=report)
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


def label(
    session: Session,
    identifier: str,
    labels: Mapping[str, float],
    viewer: Viewer,
    settings: Settings,
    promise: Idempotency | None,
    request_id: str,
) -> Answer:
    """The same study's report written again with a person's labels of its sheet: a new study of the same jobs.

    Raises Problem 404, and 409 while the report is not written or when the caller may not see one of the jobs now.
    """
    earlier = None if promise is None else jobs.promised(session, viewer.owner, promise)
    if earlier is not None:
        return Answer(_shown(session, earlier, viewer, settings), replayed=True)
    study = _find(session, identifier, viewer)
    if _usable_graph(session, study, viewer)["report"].state != State.SUCCEEDED:
        raise Problem(
            409, "study_not_over", "The study's report is not written yet, so there is no labelling sheet for these labels."
        )
    placed = {name: node | {"reused": True} for name, node in study.nodes.items()}
    about = stored(StudyRequest, study.spec)
    made = _report(session, study.spec, placed, viewer, _span(settings), promise, request_id, about, Sharing(), labels=labels)
    return _answer(session, made, viewer, settings)


def _span(settings: Settings) -> _Span:
    return _Span(settings.limit.job_seconds, settings.lease.stall)


def _answer(session: Session, made: "_Reported | Submitted", viewer: Viewer, settings: Settings) -> Answer:
    return Answer(_shown(session, made.job, viewer, settings), made.replayed, getattr(made, "reused", False))


def _shown(session: Session, job: Job, viewer: Viewer, settings: Settings) -> JobOut:
    return views(session, [job], viewer, slice_seconds=settings.lease.slice)[0]


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
