"""Queries that must not cost more as the database grows, by name, as functions of a session; they only read.

Lists and overviews that people open often, a batch of retention, and metrics. `test_rows_read` counts the rows that they read, and
`bench_lists` times them. The users, models and words in them are those of `tests.db.crowd`.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.extractions import repository as extractions
from app.extractions.repository import Place, VectorFilters
from app.jobs import repository as jobs
from app.jobs.repository import JobFilters
from app.jobs.states import State
from app.quotas import usage
from app.retention import repository as retention
from app.status import repository as status

FIRST = Place()
MEMBER, ADMIN = Viewer("user3", "member"), Viewer("root", "admin")


def _jobs(viewer: Viewer, **filters: Any) -> Callable[[Session], Any]:
    return lambda session: jobs.listing(session, viewer, JobFilters(**filters), limit=50, before=None)


def _vectors(viewer: Viewer, sort: str | None = None, after: Place = FIRST, **filters: Any) -> Callable[[Session], Any]:
    return lambda session: extractions.vectors(session, viewer, VectorFilters(**filters), sort=sort, limit=50, after=after)


NAMED: dict[str, Callable[[Session], Any]] = {
    "status: queues": lambda session: status.queues(session.connection()),
    "status: waiting": lambda session: status.waiting(session.connection(), MEMBER, slice_seconds=300),
    "status: workers": lambda session: status.workers(session.connection(), MEMBER, lease_seconds=60),
    "jobs, a member's": _jobs(MEMBER),
    "jobs by model and state": _jobs(ADMIN, model="model3", state=[State.FAILED]),
    "jobs by words": _jobs(ADMIN, words="zebra"),
    "jobs by words, a member's": _jobs(MEMBER, words="zebra"),
    "vectors, a member's": _vectors(MEMBER),
    "vectors by model, a member's": _vectors(MEMBER, model="model3"),
    "vectors sorted by accuracy": _vectors(ADMIN, "-accuracy"),
    "vectors sorted by accuracy, from the middle": _vectors(ADMIN, "-accuracy", Place(0.5, "vec_")),
    "vectors sorted by accuracy, a member's": _vectors(MEMBER, "-accuracy"),
    "usage, a member's": lambda session: usage.usage(session, MEMBER, user=None, days=30),
    "old results, a batch": lambda session: retention.old_results(session, 100, most=200),
    "metrics: finished by kind": status.finished_by_kind,
    "usage of everybody": lambda session: usage.usage(session, ADMIN, user=None, days=30),
}
