"""Removes what grows without end, where an operator set an age for it: events of finished jobs, the audit, finished jobs themselves.

Each batch is a transaction of its own, takes less than half a second, and is recorded in the audit.
"""

from itertools import groupby

from sqlalchemy.orm import Session, sessionmaker

from app.audit import service as audit
from app.deletion.service import delete_finished
from app.retention import history_repository as repository
from app.retention.history_repository import LastEnded
from app.retention.service import ITSELF
from app.settings import RetentionSettings
from terms.values import JsonField

EVENTS_OF, ENTRIES, JOBS = 500, 2_000, 20
"""Sizes of a batch: jobs that lose their events, entries of the audit, jobs that are deleted."""


def forget(sessions: sessionmaker[Session], settings: RetentionSettings) -> dict[str, int]:
    """Removes jobs, events and audit entries that are older than the settings allow; returns the number of each, 0 where no age is set."""
    told = {"events": 0, "audit": 0, "jobs": 0}
    if settings.jobs_days:
        told["jobs"] = _jobs(sessions, settings.jobs_days)
    if settings.events_days:
        told["events"] = _events(sessions, settings.events_days)
    if settings.audit_days:
        told["audit"] = _audit(sessions, settings.audit_days)
    return told


def _record(session: Session, what: str, gone: int) -> int:
    """Records a batch in its transaction, so that nothing is removed without an entry; returns how much was removed."""
    if gone:
        details: JsonField = {what: gone}
        audit.record(session, ITSELF, "retention.forget", "history", **details)
    return gone


def _events(sessions: sessionmaker[Session], days: float) -> int:
    gone, place, more = 0, None, True
    while more:
        with sessions.begin() as session:
            jobs = repository.ended(session, days, after=place, most=EVENTS_OF)
            removed = repository.remove_events(session, [job.id for job in jobs]) if jobs else 0
            gone += _record(session, "events", removed)
        more = len(jobs) == EVENTS_OF
        place = (jobs[-1].finished_at, jobs[-1].id) if jobs else None
    return gone


def _jobs(sessions: sessionmaker[Session], days: float) -> int:
    """Deletes old jobs as a user would and returns how many. Jobs that are kept or in use stay until a later run, and so do those they need."""
    gone, more = 0, True
    place: LastEnded | None = None
    while more:
        with sessions.begin() as session:
            jobs = repository.ended(session, days, after=place, most=JOBS)
            free = sorted((job.owner, job.id) for job in jobs if not job.kept)
            removed = sum(
                len(delete_finished(session, [job_id for _, job_id in theirs], owner))
                for owner, theirs in groupby(free, key=lambda pair: pair[0])
            )
            gone += _record(session, "jobs", removed)
        more = len(jobs) == JOBS
        place = (jobs[-1].finished_at, jobs[-1].id) if jobs else None
    return gone


def _audit(sessions: sessionmaker[Session], days: float) -> int:
    gone, more = 0, True
    while more:
        with sessions.begin() as session:
            removed = repository.remove_audit(session, days, most=ENTRIES)
            gone += _record(session, "audited", removed)
        more = removed == ENTRIES
    return gone
