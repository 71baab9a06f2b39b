"""What only a plan knows: jobs that do not exist yet and are looked up as if they did.

A dry run of a study is the real submission in a transaction that can only read: where a job would be inserted, it is kept here, so that the
requests after it find it. Everything that the real submission refuses, this refuses too.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.jobs.models import Job

_JOBS = "planned"


@contextmanager
def planning(session: Session) -> Iterator[dict[str, Job]]:
    """Until the body ends, jobs are planned instead of submitted. The transaction must be a new one; it can write nothing afterwards."""
    session.execute(text("SET TRANSACTION READ ONLY"))
    session.info[_JOBS] = jobs = dict[str, Job]()
    try:
        yield jobs
    finally:
        del session.info[_JOBS]


def planned(session: Session) -> dict[str, Job] | None:
    """The jobs that this session plans, by id; None when it submits."""
    found: dict[str, Job] | None = session.info.get(_JOBS)
    return found


def planned_job(session: Session, job_id: str) -> Job | None:
    """The job, if it is one that this session plans."""
    return (planned(session) or {}).get(job_id)


def job_of(session: Session, job_id: str) -> Job:
    """The job, planned or there."""
    return planned_job(session, job_id) or session.get_one(Job, job_id)
