"""Locking job rows: everything a transaction will change, in one statement, in the order of ids (README.md: The order of locks).

Two transactions that lock in one order can wait for each other, but never in a circle.
"""

from collections.abc import Collection

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.jobs.models import Job

# `ends`: the job reaches an end here, so its dependents change too; `fails`: an end that fails those that need its success.
_ENDING = text("""
WITH RECURSIVE touched(id, ends, fails) AS (
    SELECT root, true, CAST(:fails AS boolean) FROM unnest(CAST(:ids AS text[])) AS root
    UNION
    SELECT d.id, t.fails AND e.needs = 'success', t.fails AND e.needs = 'success'
    FROM touched t JOIN job_edges e ON e.after_id = t.id JOIN jobs d ON d.id = e.job_id AND d.state = 'queued'
    WHERE t.ends
)
SELECT id FROM jobs WHERE id IN (SELECT id FROM touched) AND state NOT IN ('succeeded', 'failed', 'cancelled')
ORDER BY id FOR NO KEY UPDATE""")


def lock_ending(session: Session, ids: Collection[str], *, fails: bool) -> None:
    """Locks those of the jobs that are not over, and the waiting jobs that their end releases or (with `fails`) fails.

    A job that is submitted behind one of these meanwhile has a later id, and so is locked in order too when it is released.
    """
    session.execute(_ENDING, {"ids": sorted(ids), "fails": fails})


def lock_jobs(session: Session, ids: Collection[str]) -> None:
    """Locks these jobs, whatever their state. References to them can still be made."""
    session.execute(select(Job.id).where(Job.id.in_(sorted(ids))).order_by(Job.id).with_for_update(key_share=True))
