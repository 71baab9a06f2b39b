"""Creates a job: its row, its edges, its first events and the notification, in one statement."""

from collections.abc import Sequence
from typing import TypedDict

from sqlalchemy import Executable, Text, bindparam, column, func, insert, literal, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.auth.visibility import Visibility
from app.jobs.kinds import kind_named
from app.jobs.models import Job, JobEdge, JobEvent
from app.jobs.schemas import Edge
from app.jobs.specs import spec_hash
from app.jobs.submission import MOST_WARNINGS, WARNED, Submission
from app.jobs.transitions import CHANNEL, COLUMNS, Event, lines_of, places
from terms.specs import Spec
from terms.values import JsonObject

_EVENTS, _EDGES = "first_events", "first_edges"


class Row(TypedDict):
    """The columns of a new job that do not have their defaults."""

    id: str
    kind: str
    job_class: str
    handler_version: int
    short: bool
    owner: str
    visibility: Visibility
    group_name: str | None
    name: str | None
    tags: list[str]
    notes: str | None
    webhook: str | None
    spec: Spec | JsonObject
    spec_hash: str
    model: str | None
    priority: int
    retry_of: str | None
    request_id: str | None
    blockers: int
    progress_total: int
    progress_unit: str
    max_seconds: float
    stall_seconds: float
    event_seq: int


def row_of(job_id: str, submission: Submission, *, waiting: int) -> Row:
    """Returns the row of a new queued job that waits for `waiting` other jobs."""
    kind = kind_named(submission.kind)
    return Row(
        id=job_id,
        kind=submission.kind,
        job_class=submission.job_class,
        handler_version=kind.handler_version,
        short=kind.short,
        owner=submission.owner,
        visibility=submission.sharing.visibility,
        group_name=submission.sharing.group,
        name=submission.name,
        tags=list(submission.tags),
        notes=submission.notes,
        webhook=submission.webhook,
        spec=submission.spec,
        spec_hash=spec_hash(submission.kind, submission.spec),
        model=submission.model,
        priority=submission.priority,
        retry_of=submission.retry_of,
        request_id=submission.request_id,
        blockers=waiting,
        progress_total=waiting,
        progress_unit="jobs" if waiting else "",
        max_seconds=submission.max_seconds,
        stall_seconds=submission.stall_seconds,
        event_seq=1 + len(submission.warnings[:MOST_WARNINGS]),
    )


def _statement() -> Executable:
    """Returns the statement of `born`, which is built once, because every submission runs it."""
    table = Job.__table__
    values = {name: bindparam(f"new_{name}", type_=table.columns[name].type) for name in Row.__annotations__}
    job = insert(Job).values(values).returning(*COLUMNS).cte("job")
    events = lines_of(bindparam(_EVENTS, type_=JSONB))
    given = func.jsonb_to_recordset(bindparam(_EDGES, type_=JSONB))
    edges = given.table_valued(column("after_id", Text), column("needs", Text), name="edges").render_derived(with_types=True)
    history = select(job.c.id, events.c.place, events.c.type, events.c.data).join(events, literal(True))
    waits = select(job.c.id, edges.c.after_id, edges.c.needs).join(edges, literal(True))
    written = [
        insert(JobEvent).from_select(["job_id", "seq", "type", "data"], history).cte("written_events"),
        insert(JobEdge).from_select(["job_id", "after_id", "needs"], waits).cte("written_edges"),
    ]
    return select(Job).from_statement(select(job, func.pg_notify(CHANNEL, job.c.id)).add_cte(*written))


_BIRTH = _statement()


def born(session: Session, row: Row, after: Sequence[Edge], warnings: Sequence[str]) -> Job:
    """Creates a job with its edges, its first events and the notification of its listeners."""
    made = {"kind": row["kind"], "model": row["model"], "after": [edge.job for edge in after]}
    events: list[Event] = [("submitted", made), *((WARNED, {"detail": warning}) for warning in warnings[:MOST_WARNINGS])]
    edges = [{"after_id": edge.job, "needs": edge.needs} for edge in after]
    values = {f"new_{name}": value for name, value in row.items()}
    job: Job = session.scalars(_BIRTH, {**values, _EVENTS: places(events), _EDGES: edges}).one()
    return job
