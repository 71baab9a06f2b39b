"""Finds what unfinished jobs use, which retention and deletion must keep."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from terms.naming import NAMING

# A retry reads the finished cells of the job it retries, and of the jobs that this job retried in turn.
_USES = text("""
WITH RECURSIVE unfinished AS MATERIALIZED (
    SELECT id, retry_of, spec FROM jobs WHERE state = 'queued' OR state IN ('running', 'cancelling')
), continued(job, thing) AS (
    SELECT id, retry_of FROM unfinished WHERE retry_of IS NOT NULL
    UNION SELECT c.job, j.retry_of FROM continued c JOIN jobs j ON j.id = c.thing WHERE j.retry_of IS NOT NULL
), uses(thing, job) AS (
    SELECT thing, job FROM continued
    UNION SELECT e.after_id, e.job_id FROM job_edges e JOIN unfinished u ON u.id = e.job_id
    UNION SELECT named[1], u.id FROM unfinished u
        CROSS JOIN LATERAL regexp_matches(u.spec::text, :reference, 'g') AS named
        WHERE :many OR u.spec::text LIKE ANY(:patterns)
)
SELECT thing, job FROM uses WHERE thing = ANY(:things) ORDER BY job, thing""")

_REFERENCE = rf'"(?:{"|".join(NAMING)})": "((?:job|vec)_[0-9a-hjkmnp-tv-z]{{26}}|[0-9a-f]{{64}})"'
"""A field that names something, in a spec as Postgres writes it. In a request's own text the quotes would be escaped."""
FEW = 10
"""For up to this many things, specs are first filtered by text, which is many times faster than extracting all ids from all specs."""


@dataclass(frozen=True)
class Use:
    """An unfinished `job` that waits for, retries or names `thing`."""

    thing: str
    job: str


def uses(session: Session, things: Collection[str]) -> list[Use]:
    """Returns which unfinished jobs use which of these things: ids of jobs and vectors, or SHA-256 digests."""
    if not things:
        return []
    many = len(things) > FEW
    patterns = [] if many else [f"%{thing}%" for thing in things]
    rows = session.execute(_USES, {"things": sorted(things), "many": many, "patterns": patterns, "reference": _REFERENCE})
    return [Use(row.thing, row.job) for row in rows]
