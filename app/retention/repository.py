"""Database statements for old results. Files and results can be removed; a job's history stays."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from app.calibrations.models import Calibration
from app.extractions.models import Extraction, Vector
from app.jobs.locks import lock_jobs
from app.jobs.models import Artifact, Job, JobCell
from app.jobs.states import FINISHED
from app.jobs.uses import uses
from app.moments import TimeAndId
from app.steerings.models import Steering
from app.studies.models import Study

RESULTS = (Artifact, JobCell, Calibration, Extraction, Steering, Study)
"""The rows removed with a job's results; extracted vectors are removed with their extraction."""

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
    AND (CAST(:at AS timestamptz) IS NULL OR (j.finished_at, j.id) > (CAST(:at AS timestamptz), CAST(:id AS text)))
ORDER BY j.finished_at, j.id LIMIT CAST(:most AS bigint)""")


@dataclass(frozen=True)
class OldResult:
    """The results of one job that are old enough to be removed. `bytes` counts each of its objects once; other jobs may refer to some, too."""

    id: str
    kind: str
    owner: str
    name: str | None
    finished_at: datetime
    age_days: float
    files: int
    bytes: int
    digests: list[str]


def old_results(
    session: Session, days: float, *, lock: bool = False, after: TimeAndId | None = None, most: int | None = None
) -> tuple[list[OldResult], TimeAndId | None]:
    """Returns results of at most `most` jobs that ended so long ago, oldest first: not kept, and not needed by an unfinished job; and the place
    after which the next ones come, None if there are no more.

    lock: leaves out results that an open transaction refers to, and prevents new references until this transaction ends; a job that is
    marked as kept meanwhile stays.
    """
    at, job_id = after or (None, None)
    asked = {
        "finished": sorted(state.value for state in FINISHED),
        "seconds": days * 86_400,
        "at": at,
        "id": job_id,
        "most": most,
    }
    results = [OldResult(**row) for row in session.execute(OLD, asked).mappings()]
    last = (results[-1].finished_at, results[-1].id) if results and len(results) == most else None
    if lock:
        # asked again of the locked rows: a user may have kept one since they were found
        still = select(Job.id).where(Job.id.in_([result.id for result in results]), ~Job.kept, Job.results_removed_at.is_(None))
        free = set(session.scalars(still.order_by(Job.id).with_for_update(skip_locked=True)))
        unread = free - _read_now(session, free)
        results = [result for result in results if result.id in unread]
    needed = {use.thing for use in uses(session, {name for result in results for name in (result.id, *result.digests)})}
    return [result for result in results if result.id not in needed and needed.isdisjoint(result.digests)], last


def _read_now(session: Session, job_ids: Collection[str]) -> set[str]:
    """Locks the vectors that these jobs extracted, and returns the jobs with a vector that an open transaction refers to."""
    made = select(Vector.id, Extraction.job_id).join(Extraction, Extraction.id == Vector.extraction_id)
    made = made.where(Extraction.job_id.in_(job_ids)).order_by(Vector.id)
    free = {row.id for row in session.execute(made.with_for_update(of=Vector, skip_locked=True))}
    return {row.job_id for row in session.execute(made) if row.id not in free}


def remove(session: Session, job_ids: Sequence[str]) -> None:
    """Removes the results of these jobs; the jobs, their history and their usage stay."""
    lock_jobs(session, job_ids)
    for table in RESULTS:
        session.execute(delete(table).where(table.job_id.in_(job_ids)).execution_options(synchronize_session=False))
    session.execute(
        update(Job).where(Job.id.in_(job_ids)).values(results_removed_at=func.now()).execution_options(synchronize_session=False)
    )
