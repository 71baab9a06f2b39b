"""Refuses requests over a quota, at the end of the transaction that creates the jobs.

Services call `check_at_commit` when they create a job or refer to bytes; the session then checks the quotas just before its commit. So a
study counts with all its jobs, and two concurrent submissions cannot both pass: the check holds a lock per user until the commit. An
idempotent replay creates nothing, so it is never refused.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from psycopg.errors import LockNotAvailable
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.auth.keys import ITSELF
from app.errors import Problem
from app.quotas import repository
from app.quotas.limits import Limits, limits_of
from app.quotas.models import UNLIMITED
from app.quotas.schemas import Admission, QuotaUse
from app.quotas.usage_repository import stored_bytes
from app.settled import settled
from binnacle.words.counting import counted

QUEUE_SECONDS = 60
BYTES_SECONDS = 3600
"""Retry-After in seconds when the right time is unknown: until a job has started or something was deleted."""
SURE_JOBS, SURE_ROOM = 10, 2_000
"""A transaction that creates at most SURE_JOBS jobs and leaves room for SURE_ROOM more does not wait for the user's other submissions.
200 of these at once, more than the database has connections, cannot use up the room; the next submission that does wait counts all of them.
"""
LOCK_SECONDS = 3
"""Seconds that a submission waits for the user's other submissions to be checked; also its Retry-After."""
_PENDING = "quota_checks"


@dataclass(frozen=True)
class _Used:
    """A quota and its use. `full`: the quota allows nothing more."""

    name: str
    limit: int
    used: float
    adding: float
    full: bool
    detail: str
    retry_after: int
    resets_at: datetime | None = None

    def shown(self) -> QuotaUse:
        """Returns the quota as the API shows it."""
        facts = {"limit": self.limit, "used": round(self.used, 1), "adding": self.adding, "resets_at": self.resets_at}
        return QuotaUse.model_validate({"quota": self.name, **facts})


def check_at_commit(session: Session, owner: str) -> None:
    """Checks the owner's quotas before this transaction commits: call it when the transaction creates jobs or refers to bytes. The commit
    then raises Problem 429 when a quota is exceeded. No quota holds for the service itself, which owns the shipped traits.
    """
    if owner == ITSELF.owner:
        return
    session.info.setdefault(_PENDING, set()).add(owner)


@settled
def admission(session: Session, owner: str, *, jobs: int) -> Admission:
    """Returns whether `jobs` more jobs would be admitted now. Reserves nothing: other submissions may come first."""
    used = _all_used(session, owner, limits_of(session, owner), queued=repository.queue(session, owner).queued, jobs=jobs)
    full = [quota for quota in used if quota.full]
    detail = " ".join(quota.detail for quota in full) or None
    return Admission(would_pass=not full, detail=detail, quotas=[quota.shown() for quota in used])


def check_full(session: Session, owner: str) -> None:
    """Checks the quota before an upload is read. Raises Problem 429 when the owner may store nothing more."""
    limit = limits_of(session, owner).stored_bytes
    if limit < UNLIMITED:
        _refuse(_stored(owner, limit, stored_bytes(session, owner), 1))


def check_upload(session: Session, owner: str, size: int) -> None:
    """Checks the quota before `size` new bytes of the owner are stored. Raises Problem 429 when they exceed it."""
    limit = limits_of(session, owner).stored_bytes
    if limit < UNLIMITED:
        _refuse(_stored(owner, limit, stored_bytes(session, owner) + size, 0))


@event.listens_for(Session, "before_commit")
def _before_commit(session: Session) -> None:
    if session.in_nested_transaction():  # releasing a savepoint does not commit
        return
    for owner in sorted(session.info.pop(_PENDING, ())):
        session.flush()
        _admit(session, owner)


def _admit(session: Session, owner: str) -> None:
    """Raises Problem 429 for the first quota that is exceeded."""
    if repository.surely_admitted(session, owner, jobs=SURE_JOBS, room=SURE_ROOM):
        return
    limits = limits_of(session, owner)
    _lock(session, owner)
    queue = repository.queue(session, owner)
    for quota in _all_used(session, owner, limits, queued=queue.queued - queue.made, jobs=queue.made):
        _refuse(quota)


def _refuse(quota: _Used) -> None:
    """Raises Problem 429 when the quota allows nothing more."""
    if quota.full:
        facts = quota.shown().model_dump(mode="json")
        raise Problem(429, f"quota_{quota.name}", quota.detail, headers={"Retry-After": str(quota.retry_after)}, facts=facts)


def _lock(session: Session, owner: str) -> None:
    """Waits until no other submission of the user is being checked. Raises Problem 429 after LOCK_SECONDS."""
    try:
        repository.lock(session, owner, patience=LOCK_SECONDS)
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        detail = (
            f"Other submissions of {owner} were being checked against the quotas for {LOCK_SECONDS} seconds. "
            "Nothing was done. Send the request again in a moment, with fewer at the same time."
        )
        raise Problem(429, "submissions_busy", detail, headers={"Retry-After": str(LOCK_SECONDS)}) from error


def _all_used(session: Session, owner: str, limits: Limits, *, queued: int, jobs: int) -> list[_Used]:
    """Returns all quotas that limit the owner. `jobs` 0: only bytes are added."""
    quotas = []
    if limits.max_queued < UNLIMITED:
        quotas.append(_queued(owner, limits.max_queued, queued, jobs))
    if limits.device_seconds_per_day < UNLIMITED:
        quotas.append(_device_seconds(owner, limits.device_seconds_per_day, repository.device_time(session, owner), jobs))
    if limits.stored_bytes < UNLIMITED:
        quotas.append(_stored(owner, limits.stored_bytes, stored_bytes(session, owner), jobs))
    return quotas


def _queued(owner: str, limit: int, queued: int, jobs: int) -> _Used:
    detail = (
        f"{owner} has {counted(queued, 'job')} in the queue; {jobs:,} more make {queued + jobs:,}, and the quota (max_queued) is {limit:,}. "
        "The number falls as jobs start or are cancelled: wait, submit less at once, or ask an administrator for a larger quota."
    )
    return _Used("max_queued", limit, queued, jobs, bool(jobs) and queued + jobs > limit, detail, QUEUE_SECONDS)


def _device_seconds(owner: str, limit: int, time: repository.DeviceTime, jobs: int) -> _Used:
    detail = (
        f"{owner} has used {time.seconds:,.0f} device seconds today (running jobs included), and the quota (device_seconds_per_day) is "
        f"{limit:,}. It resets at {time.resets_at:%Y-%m-%d %H:%M} UTC, in {time.resets_in / 3600:.1f} hours. Jobs submitted earlier still run."
    )
    full = bool(jobs) and time.seconds >= limit
    return _Used("device_seconds_per_day", limit, time.seconds, 0, full, detail, math.ceil(time.resets_in), time.resets_at)


def _stored(owner: str, limit: int, stored: int, jobs: int) -> _Used:
    """Returns the storage quota and its use. A job needs free space to start, while the bytes of an upload are already counted."""
    detail = (
        f"{owner} stores {stored:,} bytes{'' if jobs else ', this upload included'}, and the quota "
        f"(stored_bytes) is {limit:,}. The number falls as jobs, imported vectors and traits are deleted: "
        "DELETE /v1/jobs/ID (DELETE /v1/jobs/ID?dry_run=true shows how much). Or ask an administrator for a larger quota."
    )
    return _Used("stored_bytes", limit, stored, 0, stored >= limit if jobs else stored > limit, detail, BYTES_SECONDS)
