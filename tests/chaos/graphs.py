"""Studies of probe jobs: the product's own graph and cancelling, with nodes that take milliseconds instead of minutes."""

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.ids import new_id
from app.jobs import service
from app.jobs.kinds import KINDS
from app.jobs.models import Job
from app.jobs.schemas import Edge
from app.jobs.submission import Submission
from app.studies.kind import REPORT
from app.studies.models import Study
from tests.worker.probe import Probe
from workers.handlers import HANDLERS

KINDS["graph"] = "tests.chaos.graphs:GRAPH"
HANDLERS["graph"] = HANDLERS["probe"]


class Graph(Probe):
    """Cancelled as a study is: its unfinished nodes are cancelled, and then it runs with the results that exist."""

    name = "graph"
    handler_version = 1

    def cancelled(self, session: Session, job: Job, viewer: Viewer) -> bool:
        return REPORT.cancelled(session, job, viewer)


GRAPH = Graph()


def plant(session: Session, name: str, owner: str, nodes: int, seconds: float) -> tuple[str, list[str]]:
    """Submits a study of pairs of nodes, the second of each after the first; returns its job's id and its nodes' ids."""
    made: list[str] = []
    for number in range(nodes):
        after = [Edge(job=made[-1], needs="success")] if number % 2 else []
        spec = {"steps": 2, "seconds": seconds, "text": f"{name} node {number}"}
        wanted = Submission(kind="probe", spec=spec, owner=owner, job_class="light", name=name, after=after)
        made.append(service.submit(session, wanted).job.id)
    edges = [Edge(job=node, needs="end") for node in made]
    report = Submission(kind="graph", spec={"text": name}, owner=owner, job_class="light", name=name, after=edges)
    job = service.submit(session, report).job.id
    placed = {f"probe/{i}": {"place": i, "job": node, "kind": "probe", "reused": False} for i, node in enumerate(made)}
    session.add(Study(id=new_id("std"), job_id=job, owner=owner, title=name, spec={}, nodes=placed))
    return job, made
