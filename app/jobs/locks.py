"""Locks job rows: all rows that a transaction will change, in one statement, in the order of ids (README.md: The order of locks).

Transactions that lock in one order can wait for each other, but never in a circle.
"""

from collections.abc import Collection

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.jobs.models import Job

# `ends`: the job ends here, so its dependents change too. `fails`: this end also fails the dependents that need the job's success.
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
    """Locks the given jobs that have not ended, and the waiting jobs that their end releases or (with `fails`) fails.

    A job submitted meanwhile that waits for any of these has a later id, so its release also follows the order of locks.
    """
    session.execute(_ENDING, {"ids": sorted(ids), "fails": fails})


def lock_jobs(session: Session, ids: Collection[str]) -> None:
    """Locks these jobs, whatever their state. Other rows can still be inserted that refer to them."""
    session.execute(select(Job.id).where(Job.id.in_(sorted(ids))).order_by(Job.id).with_for_update(key_share=True))
