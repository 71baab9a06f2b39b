"""Operations of the API on studies: submit every job of the graph in one transaction, show, retry failed jobs, add labels."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.sharing import Sharing, require_management
from app.auth.viewer import Viewer
from app.errors import Problem, not_found
from app.jobs import repository as job_repository
from app.jobs import service as jobs
from app.jobs.absence import absent
from app.jobs.models import Artifact, Job
from app.jobs.planned import planning
from app.jobs.references import not_shared
from app.jobs.reuse import find_reusable
from app.jobs.specs import report_spec
from app.jobs.states import FINISHED, State
from app.jobs.submission import Asker, Submitted
from app.jobs.submitting import Answer, Placed, answer, check_admissible, check_edges, promised, reused, sharing_of
from app.models import repository as model_repository
from app.planner import still_wanted
from app.quotas.admission import admission
from app.settled import asked_once
from app.studies import reports, repository
from app.studies.graph import Node
from app.studies.models import Study, as_edited, in_order
from app.studies.planning import arithmetic, nodes_of, place_node, price
from app.studies.reports import Report
from app.studies.results import StudyCost, StudyOut, view
from app.studies.schemas import LabelsIn, StudyRequest
from app.text import stored
from terms.documents.study import StudyNode

ENDED_BADLY = (State.FAILED, State.CANCELLED)
NAMED = 3
"""Most jobs that an error names."""


def estimate(session: Session, asker: Asker, request: StudyRequest, reuse: bool = False) -> StudyCost:
    """Returns what the study would run: every job is checked as at its submission and its cost estimated. Writes nothing."""
    costs = []
    nodes: dict[str, StudyNode] = {}
    with planning(session) as made, asked_once(session):
        check_admissible(session, request, check_edges(session, request, asker.viewer), asker.viewer)
        for node, known, placed in _placing(session, asker, request, reuse):
            nodes[node.name] = placed
            cost = price(session, asker, node, known, request)
            cost["warnings"] = [*node.warnings, *cost.get("warnings", ())]
            costs.append({"node": node.name, "kind": node.kind, "reused": placed["reused"], **cost})
        run = [node_cost for node_cost in costs if not node_cost["reused"]]
        written = reuse and not run and _written(session, _report(asker, request, nodes), asker.viewer) is not None
    jobs = 0 if written else len(run) + 1
    seconds = [node_cost.get("estimated_seconds") for node_cost in run]
    left_out = len(request.models) - sum(node_cost["kind"] == "calibrate" for node_cost in costs)
    unregistered = f"; models not registered and left out: {left_out}" if left_out else ""
    return StudyCost(
        jobs=jobs,
        reused=len(costs) + 1 - jobs,
        nodes=costs,
        estimated_seconds=None if None in seconds else round(sum(s for s in seconds if s is not None), 1),
        warnings=list(dict.fromkeys(warning for node_cost in costs for warning in node_cost["warnings"])),
        arithmetic=f"{arithmetic(request)[1]}; {jobs} of these jobs will run{unregistered}",
        limit=asker.settings.limit.study_jobs,
        admission=admission(session, asker.viewer.owner, jobs=len(made) + (not written)),
    )


def submit(session: Session, asker: Asker, request: StudyRequest, reuse: bool = False) -> Answer:
    """Submits the whole graph in one transaction, or nothing."""
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    check_admissible(session, request, check_edges(session, request, asker.viewer), asker.viewer)
    with asked_once(session):
        placed = [(node, stored_node) for node, _, stored_node in _placing(session, asker, request, reuse)]
    nodes = {node.name: stored_node for node, stored_node in placed}
    left_out = [warning for node, _ in placed for warning in node.warnings]
    report = _report(asker, request, nodes, list(dict.fromkeys([*left_out, *_warnings(session, nodes)])))
    finished = _written(session, report, asker.viewer) if reuse else None
    return (
        _answered(session, asker, report)
        if finished is None
        else answer(session, asker, reused(session, asker, request, finished))
    )


def _placing(
    session: Session, asker: Asker, request: StudyRequest, reuse: bool
) -> Iterator[tuple[Node, Mapping[str, str], StudyNode]]:
    """Submits every job of the graph except the report, each after the jobs that it refers to. Yields each node of the graph, the ids of the
    earlier jobs by node, and the node as the study stores it.
    """
    known: dict[str, str] = {}
    for node in nodes_of(session, asker, request):
        still_wanted(session)
        made = place_node(session, asker, node, known, request, reuse)
        stored_node: StudyNode = {
            "place": len(known),
            "job": made.job.id,
            "kind": node.kind,
            "model": node.model,
            "trait": node.trait,
            "reused": made.reused,
        }
        yield node, known, stored_node
        known[node.name] = made.job.id


def _report(asker: Asker, request: StudyRequest, nodes: Mapping[str, StudyNode], warnings: Sequence[str] = ()) -> Report:
    """Returns the report of a new study."""
    return Report(
        stored=request.model_dump(mode="json"),
        request=request,
        nodes=nodes,
        sharing=sharing_of(request),
        max_seconds=asker.settings.limit.job_seconds,
        stall_seconds=asker.settings.lease.stall,
        warnings=warnings,
    )


def _written(session: Session, report: Report, viewer: Viewer) -> Job | None:
    """Returns the finished job of an equal report."""
    return find_reusable(session, "report", report.spec, viewer)


def _warnings(session: Session, nodes: Mapping[str, StudyNode]) -> list[str]:
    """Returns the warnings of the graph's submissions, each once."""
    of_jobs = job_repository.warnings(session, [node["job"] for node in nodes.values()])
    return list(dict.fromkeys(warning for node in nodes.values() for warning in of_jobs.get(node["job"], ())))


def _kept_warnings(session: Session, report: Job) -> Sequence[str]:
    """Returns the warnings of the study that this report is of."""
    return job_repository.warnings(session, [report.id]).get(report.id, ())


def _answered(session: Session, asker: Asker, report: Report) -> Answer:
    """Submits the report's job, and with it the study."""
    made = reports.submit(session, asker, report)
    return answer(session, asker, Placed(made.job, replayed=made.replayed))


def retry(session: Session, asker: Asker, identifier: str) -> Answer:
    """Submits a new study with the same spec and labels: new jobs for those that failed or were cancelled, the others unchanged.

    Raises Problem 403, 404, 409.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    study = _find(session, identifier, asker.viewer)
    require_management(asker.viewer, study.owner, identifier)
    made = retry_graph(session, asker, study)
    return answer(session, asker, Placed(made.job, made.replayed))


def retry_graph(session: Session, asker: Asker, study: Study) -> Submitted:
    """Retries a study that was already found; also used when its Job is retried. Every new job is the caller's.

    Raises Problem 409 when no job needs a retry, or when the caller may not use one of its jobs now.
    """
    viewer = asker.viewer
    graph = _usable_graph(session, study, viewer)
    _check_over(graph)
    old = graph["report"]
    sharing = jobs.kept_sharing(session, old, viewer)
    renamed: dict[str, str] = {}  # new job ids by the id of the job they replace
    nodes: dict[str, StudyNode] = {}
    for name, node in in_order(study.nodes):  # in order of submission, because later jobs refer to earlier ones
        job = graph[name]
        if job.state in ENDED_BADLY:
            renamed[job.id] = jobs.again(session, asker.for_another_job(), job, sharing, renamed).job.id
        nodes[name] = {**node, "job": renamed.get(job.id, job.id), "reused": job.id not in renamed}
    edited = as_edited(study.spec, old)
    report = Report(
        stored=edited,
        request=stored(StudyRequest, edited),
        nodes=nodes,
        sharing=sharing,
        max_seconds=old.max_seconds,
        stall_seconds=old.stall_seconds,
        retry_of=old.id,
        labels=report_spec(old).get("labels"),
        warnings=_kept_warnings(session, old),
    )
    made = reports.submit(session, asker, report)
    if viewer.owner != study.owner and not made.replayed:
        audit.record(session, viewer, "job.retry", old.id, owner=study.owner, made=made.job.id)
    return made


def _check_over(graph: Mapping[str, Job]) -> None:
    """Raises Problem 409 while a job of the study, its report included, has not ended, and when all have succeeded."""
    unfinished = [name for name, job in graph.items() if job.state not in FINISHED]
    if unfinished:
        named = ", ".join(unfinished[:NAMED]) + ", ..." * (len(unfinished) > NAMED)
        raise Problem(
            409, "study_not_over", f"Jobs of the study that have not ended: {named}. Wait for them or cancel the study first."
        )
    if all(job.state == State.SUCCEEDED for job in graph.values()):
        raise Problem(409, "job_not_retryable", "Every job of the study succeeded; there is nothing to retry.")


def _usable_graph(session: Session, study: Study, viewer: Viewer) -> dict[str, Job]:
    """Returns the study's jobs by node. Raises Problem 404 as `_graph`, and 409 when the caller may not see all of them now."""
    graph = _graph(session, study, viewer)
    hidden = [name for name in study.nodes if name not in graph]
    if hidden:
        raise not_shared(study.id, "consists of", hidden)
    return graph


def label(session: Session, asker: Asker, identifier: str, request: LabelsIn) -> Answer:
    """Submits a new study of the same jobs, with a report that includes a person's labels of its sheet.

    Raises Problem 404, and 409 while the report is not written or when the caller may not see one of the jobs now.
    """
    earlier = promised(session, asker)
    if earlier is not None:
        return answer(session, asker, earlier)
    study = _find(session, identifier, asker.viewer)
    old = _usable_graph(session, study, asker.viewer)["report"]
    if old.state != State.SUCCEEDED:
        raise Problem(
            409, "study_not_over", "The study's report has not been written, so there is no labelling sheet for these labels."
        )
    edited = as_edited(study.spec, old)
    report = Report(
        stored=edited,
        request=stored(StudyRequest, edited),
        nodes={name: {**node, "reused": True} for name, node in study.nodes.items()},
        sharing=Sharing(),
        max_seconds=asker.settings.limit.job_seconds,
        stall_seconds=asker.settings.lease.stall,
        labels=request.labels,
        warnings=_kept_warnings(session, old),
    )
    return _answered(session, asker, report)


def _graph(session: Session, study: Study, viewer: Viewer) -> dict[str, Job]:
    """Returns the study's jobs by node that the caller may see. Raises Problem 404 when its report's was deleted or hidden just now, after
    the study was found."""
    graph = repository.jobs_of(session, study, viewer)
    if "report" not in graph:
        raise not_found("study", study.id)
    return graph


def _find(session: Session, identifier: str, viewer: Viewer) -> Study:
    study = repository.find(session, identifier, viewer)
    if study is None:
        raise not_found("study", identifier)
    return study


def find(session: Session, identifier: str, viewer: Viewer) -> StudyOut:
    """Returns a study by its own id or its Job's. Raises Problem 404."""
    study = _find(session, identifier, viewer)
    return _view(session, study, _graph(session, study, viewer))


def listing(session: Session, viewer: Viewer, *, limit: int, before: tuple[datetime, str] | None) -> Sequence[StudyOut]:
    """Returns a page of studies, newest first, without those that were deleted or hidden since it was read."""
    read = repository.listing(session, viewer, limit=limit, before=before)
    graphs = zip(read, repository.jobs_of_all(session, read, viewer), strict=True)
    models = model_repository.named(session, {node["model"] for study in read for node in study.nodes.values()})
    shown = [view(study, graph, models) for study, graph in graphs if "report" in graph]
    if len(shown) < len(read) == limit:  # fewer would end the list
        last = read[-1]
        shown += listing(session, viewer, limit=limit - len(shown), before=(last.created_at, last.id))
    return shown


def _view(session: Session, study: Study, graph: Mapping[str, Job]) -> StudyOut:
    return view(study, graph, model_repository.named(session, {node["model"] for node in study.nodes.values()}))


def file(session: Session, identifier: str, name: str, viewer: Viewer) -> Artifact:
    """Returns a file of the study's report. Raises Problem 404, and 409 while the report is not written."""
    study = _find(session, identifier, viewer)
    artifact = job_repository.artifact(session, study.job_id, name)
    if artifact is None:
        raise absent(session, name, study.job_id, viewer, "report")
    return artifact
