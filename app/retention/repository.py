"""Every statement about old results. A job's history stays for good; its files, and what lists find of them, may go."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Text, delete, func, select, text, update
from sqlalchemy.orm import Session

from app.calibrations.models import Calibration
from app.extractions.models import Extraction
from app.jobs.locks import lock_jobs
from app.jobs.models import Artifact, Job, JobCell, JobEdge
from app.jobs.states import FINISHED
from app.steerings.models import Steering
from app.studies.models import Study

RESULTS = (Artifact, JobCell, Calibration, Extraction, Steering, Study)
"""What goes with a job's results; extracted vectors go with their extraction."""

_NAMED = re.compile(r"job_[0-9a-hjkmnp-tv-z]{26}|\b[0-9a-f]{64}\b")

# A kept job keeps what it was made of: a study's report is worth little without its steerings.
OLD = text("""
WITH RECURSIVE kept(id) AS (
    SELECT id FROM jobs WHERE kept UNION SELECT e.after_id FROM job_edges e JOIN kept k ON e.job_id = k.id
)
SELECT j.id, j.kind, j.owner, j.name, j.finished_at, extract(epoch FROM now() - j.finished_at)::float8 / 86400 AS age_days,
    held.files, held.bytes, held.digests
FROM jobs j CROSS JOIN LATERAL (
    SELECT count(*) AS files, coalesce(sum(b.size), 0)::bigint AS bytes, coalesce(array_agg(b.digest), '{}') AS digests
    FROM (SELECT digest FROM artifacts WHERE job_id = j.id UNION SELECT digest FROM job_cells WHERE job_id = j.id) own
    JOIN blobs b ON b.digest = own.digest
) held
WHERE j.state = ANY(:finished) AND j.results_removed_at IS NULL AND j.finished_at < now() - make_interval(secs => :seconds)
    AND NOT EXISTS (SELECT 1 FROM kept WHERE kept.id = j.id) AND held.files > 0
ORDER BY j.finished_at, j.id""")


@dataclass(frozen=True)
class OldResult:
    """The results of one job that are old enough to go. `bytes` counts each of its objects once; others may refer to some too."""

    id: str
    kind: str
    owner: str
    name: str | None
    finished_at: datetime
    age_days: float
    files: int
    bytes: int
    digests: list[str]


def old_results(session: Session, days: float) -> list[OldResult]:
    """Results of jobs that were over so long ago, oldest first: not kept, and not needed by a job that is yet to run."""
    rows = session.execute(OLD, {"finished": sorted(state.value for state in FINISHED), "seconds": days * 86_400})
    found = [OldResult(**row) for row in rows.mappings()]
    needed = needed_by_unfinished(session) if found else set()
    return [one for one in found if one.id not in needed and needed.isdisjoint(one.digests)]


def needed_by_unfinished(session: Session) -> set[str]:
    """Jobs and digests that queued and running jobs come after, retry, or name in their specs."""
    waiting = select(Job.id).where(Job.state.not_in(list(FINISHED)))
    specs = session.scalars(select(Job.spec.cast(Text)).where(Job.state.not_in(list(FINISHED))))
    named = {name for spec in specs for name in _NAMED.findall(spec)}
    edges = set(session.scalars(select(JobEdge.after_id).where(JobEdge.job_id.in_(waiting))))
    retried = set(session.scalars(select(Job.retry_of).where(Job.state.not_in(list(FINISHED)), Job.retry_of.is_not(None))))
    return named | edges | {name for name in retried if name is not None}


def remove(session: Session, job_ids: Sequence[str]) -> None:
    """Takes the results of these jobs away; the jobs themselves, with their history and what they used, stay."""
    lock_jobs(session, job_ids)
    for table in RESULTS:
        session.execute(delete(table).where(table.job_id.in_(job_ids)).execution_options(synchronize_session=False))
    session.execute(
        update(Job).where(Job.id.in_(job_ids)).values(results_removed_at=func.now()).execution_options(synchronize_session=False)
    )
