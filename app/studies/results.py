"""Response schemas of studies."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, Field

from app.http.paging import Page
from app.jobs.models import Job
from app.jobs.reuse import read_as
from app.jobs.states import FINISHED, State
from app.models.models import Model
from app.models.reading import DOUBT, doubt
from app.quotas.schemas import Admission
from app.studies.models import Study, as_edited, in_order
from terms.documents.study import StudyNode
from terms.values import JsonField


class NodeOut(BaseModel):
    """One job of the study. For a job that is not shared with you only its place in the plan is shown."""

    shared: bool = Field(
        description="false: the job is deleted, or not shared with you now; then job, state, phase and error are null"
    )
    job: str | None
    kind: str
    model: str
    trait: str | None
    state: State | None
    phase: str | None
    reused: bool = Field(description="true: finished before this study and reused")
    doubt: str | None = Field(description=DOUBT)
    error: JsonField | None


class StudyOut(BaseModel):
    """A study: its graph as it stands, and its result once the report is written."""

    id: str
    job: str
    title: str | None
    owner: str
    state: State = Field(description="the study's job, which writes the report at the end")
    spec: JsonField
    progress: dict[str, int] = Field(description="jobs of the graph by state; `not_shared` counts those that you may not see")
    nodes: dict[str, NodeOut]
    result: JsonField | None
    created_at: datetime
    links: dict[str, str]


class StudyPage(Page[StudyOut]):
    """Studies, newest first."""


class StudyCost(BaseModel):
    """The jobs that a study would run, and their cost; nothing was written."""

    jobs: int
    reused: int
    nodes: list[JsonField] = Field(description="every job with its arithmetic and estimate")
    estimated_seconds: float | None = Field(
        description="device time of all jobs; null where too few such jobs have run on a model"
    )
    warnings: list[str] = Field(description="what the result will lack, and what to add; kept with the job")
    arithmetic: str
    limit: int = Field(description="most jobs of a study on this server, its report included")
    admission: Admission = Field(description="whether your quotas admit the request now")


def view(study: Study, jobs: Mapping[str, Job], models: Mapping[str, Model]) -> StudyOut:
    """Returns a study with the jobs of its graph that the caller may see, its report's among them; `models` are the models it names."""
    own = f"/v1/studies/{study.id}"
    report = jobs["report"]
    nodes = {name: _node(node, jobs.get(name), models.get(node["model"])) for name, node in in_order(study.nodes)}
    counts: dict[str, int] = {}
    for node in nodes.values():
        state = node.state or "not_shared"
        counts[state] = counts.get(state, 0) + 1
    links = {"self": own, "job": f"/v1/jobs/{report.id}"}
    if report.state == State.SUCCEEDED:
        links |= {name: f"{own}/{name}" for name in ("report.html", "report.md", "tables.json", "labelling.csv")}
    elif report.state not in FINISHED:
        links["cancel"] = f"/v1/jobs/{report.id}/cancel"
    return StudyOut(
        id=study.id,
        job=report.id,
        title=report.name,
        owner=study.owner,
        state=report.state,
        spec=as_edited(study.spec, report),
        progress=counts,
        nodes=nodes,
        result=report.result,
        created_at=study.created_at,
        links=links,
    )


def _node(node: StudyNode, job: Job | None, model: Model | None) -> NodeOut:
    done = job is not None and job.state == State.SUCCEEDED
    return NodeOut(
        shared=job is not None,
        job=None if job is None else job.id,
        kind=node["kind"],
        model=node["model"],
        trait=node["trait"],
        reused=node["reused"],
        doubt=doubt(model, read_as(job.result)) if job is not None and done else None,
        state=None if job is None else job.state,
        phase=None if job is None else job.phase,
        error=None if job is None else job.error,
    )
