"""Keeps the jobs of a dry run: they do not exist, but lookups within the plan find them.

A dry run of a study is the real submission in a read-only transaction. Where a job would be inserted, it is kept here instead, so that later
requests of the plan find it. The dry run therefore refuses everything that the real submission refuses.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.jobs.models import Job

_JOBS = "planned"


@contextmanager
def planning(session: Session) -> Iterator[dict[str, Job]]:
    """Returns a context in which jobs are planned instead of submitted. The transaction must be new; it cannot write anything afterwards."""
    session.execute(text("SET TRANSACTION READ ONLY"))
    session.info[_JOBS] = jobs = dict[str, Job]()
    try:
        yield jobs
    finally:
        del session.info[_JOBS]


def planned(session: Session) -> dict[str, Job] | None:
    """Returns the planned jobs by id; None when this session submits jobs."""
    jobs: dict[str, Job] | None = session.info.get(_JOBS)
    return jobs


def planned_job(session: Session, job_id: str) -> Job | None:
    """Returns the job if this session has planned it; otherwise None."""
    return (planned(session) or {}).get(job_id)


def job_of(session: Session, job_id: str) -> Job:
    """Returns the job, whether planned or stored."""
    return planned_job(session, job_id) or session.get_one(Job, job_id)
