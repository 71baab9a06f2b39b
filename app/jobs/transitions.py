"""Changes a job's row and notifies listeners: one compare-and-set UPDATE, its event and its notification, in one statement.

If the UPDATE touches no row, another process changed the job first. `Superseded` is raised, and the caller must stop.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    ColumnElement,
    Executable,
    Integer,
    TableValuedAlias,
    Text,
    Update,
    bindparam,
    column,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from app.jobs.models import Job, JobEvent
from app.jobs.states import ARROWS, FINISHED, State
from app.webhooks.outbox import announce
from terms.documents.jobs import ErrorFacts
from terms.values import Json, JsonObject

CHANNEL = "binnacle_jobs"
COLUMNS = [job_column for job_column in Job.__table__.columns if job_column.computed is None]
"""The columns with which a statement returns a job."""

Value = Json | ErrorFacts | datetime | ClauseElement
"""A value of a column: plain, or an SQL expression."""
EVENTS = "events"
"""Name of the statement parameter that holds events."""
Changes = dict[str, Value]
"""Columns of a job with their new values."""
EventData = Mapping[str, Json] | ErrorFacts
Event = tuple[str, EventData]
"""Type and data of an event in a job's history."""


class Superseded(Exception):
    """The change did not happen: the row was not in the expected state or not under the expected lease."""


def transition(  # noqa: PLR0913 - the arrow, its event and what else the row takes
    session: Session,
    job_id: str,
    source: Iterable[State],
    target: State,
    *,
    token: int | None = None,
    event: str,
    data: EventData | None = None,
    before: Sequence[Event] = (),
    values: Changes | None = None,
) -> Job:
    """Moves the job along one transition of the state graph (`ARROWS`) and returns its new row. A final state also puts the message to the
    job's webhook into the outbox.

    `event` and `data` enter the job's history, `before` are earlier events that are written now, `values` other columns that change too.
    States in `source` from which no transition leads to `target` are ignored. `token` is the caller's lease; None for transitions without a
    lease (a queued job, or the reconciler, which compared the lease itself). Raises Superseded when the job is in none of the other `source`
    states or under another lease, ValueError where no transition leads from any of them.
    """
    sources = [state for state in source if target in ARROWS[state]]
    if not sources:
        raise ValueError(f"no arrow leads to {target}")
    conditions = [Job.id == job_id, Job.state.in_(sources)]
    if token is not None:
        conditions.append(Job.lease_token == token)
    job = _change(session, conditions, [*before, (event, data or {})], {"state": target.value, **(values or {})})
    if job is None:
        raise Superseded(f"{job_id} is not {' or '.join(sources)}{'' if token is None else f' under lease {token}'}")
    if target in FINISHED:
        announce(session, job)
    return job


def touch(session: Session, job_id: str, *, token: int, values: Changes, events: Sequence[Event] = ()) -> Job:
    """Changes columns of a held job (phase, progress, lease) in the same state, and appends events to its history. Raises Superseded."""
    conditions = [Job.id == job_id, Job.lease_token == token, Job.state.in_([State.RUNNING, State.CANCELLING])]
    job = _change(session, conditions, events, values)
    if job is None:
        raise Superseded(f"{job_id} is not held under lease {token}")
    return job


def note(session: Session, job_id: str, event: str, data: EventData) -> None:
    """Appends an event to the job's history and changes nothing else."""
    _change(session, [Job.id == job_id], [(event, data)], {})


def notify(session: Session, job_id: str) -> None:
    """Notifies listeners that this job changed, when the transaction commits."""
    session.execute(text("SELECT pg_notify(:channel, :job)"), {"channel": CHANNEL, "job": job_id})


def _change(session: Session, conditions: Sequence[ColumnElement[bool]], events: Sequence[Event], changed: Changes) -> Job | None:
    """Changes a job, writes its events and notifies its listeners in one statement; returns the new row, or None when no row matches."""
    statement = changing(conditions, changed, events=len(events))
    return session.scalars(statement, {EVENTS: places(events)} if events else {}).one_or_none()


def changing(conditions: Sequence[ColumnElement[bool]], changed: Changes, *, events: int) -> Executable:
    """Returns a statement that changes a job, writes so many events and notifies its listeners; it returns the new row if a row matches.

    Its parameter `EVENTS` is the value of `places`, if there are events. Building it takes longer than running it: a frequent change builds it
    once, with parameters for its values.
    """
    if events:
        changed = {**changed, "event_seq": Job.event_seq + events}
    moved = _update(conditions, changed).returning(*COLUMNS).cte("moved")
    statement = select(moved, func.pg_notify(CHANNEL, moved.c.id))
    if events:
        lines = lines_of(bindparam(EVENTS, type_=JSONB))
        rows = select(moved.c.id, moved.c.event_seq - events + lines.c.place, lines.c.type, lines.c.data)
        wrote = insert(JobEvent).from_select(
            ["job_id", "seq", "type", "data"], rows.select_from(moved).join(lines, literal(True))
        )
        statement = statement.add_cte(wrote.cte("wrote"))
    return select(Job).from_statement(statement).execution_options(populate_existing=True)


def _update(conditions: Sequence[ColumnElement[bool]], changed: Changes) -> Update:
    statement = update(Job).where(*conditions)
    return statement.values(**changed) if changed else statement.values(event_seq=Job.event_seq)


def lines_of(events: BindParameter[JsonObject]) -> TableValuedAlias:
    """Returns events as a table expression with a single parameter, so that the statement is compiled once (VALUES would be compiled each
    time, which takes longer than the rest of a change). `events`: the value of `places`.
    """
    columns = (column("place", Integer), column("type", Text), column("data", JSONB))
    return func.jsonb_to_recordset(events).table_valued(*columns, name="lines").render_derived(with_types=True)


def places(events: Sequence[Event]) -> list[dict[str, int | str | EventData]]:
    """Returns the events, numbered from 1, as the value of the parameter of `lines_of`."""
    return [{"place": place, "type": kind, "data": data} for place, (kind, data) in enumerate(events, start=1)]
