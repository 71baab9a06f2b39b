"""Database statements for deletion: dependent rows, uses that prevent it, and the deletion itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, delete, select, text, update
from sqlalchemy.orm import Session

from app.calibrations.models import Calibration
from app.extractions.models import Extraction, Vector
from app.jobs.models import Job, JobEdge
from app.models.models import Model
from app.steerings.models import Steering
from app.studies.models import Study
from app.traits.models import Trait

RESULTS: dict[str, type[Calibration | Extraction | Steering | Study]] = {
    "cal": Calibration,
    "ext": Extraction,
    "str": Steering,
    "std": Study,
}
"""Tables of results by the prefix of their ids."""

# The stored objects of jobs: their artifacts and their finished cells.
_FILES = text("""
SELECT digest FROM artifacts WHERE job_id = ANY(:jobs) UNION ALL SELECT digest FROM job_cells WHERE job_id = ANY(:jobs)""")
# Kept jobs of the owner that come after `:jobs` directly, or through other jobs.
_KEPT = text("""
WITH RECURSIVE made(thing, id) AS (
    SELECT after_id, job_id FROM job_edges WHERE after_id = ANY(:jobs)
    UNION SELECT m.thing, e.job_id FROM job_edges e JOIN made m ON e.after_id = m.id
)
SELECT m.thing, j.id FROM made m JOIN jobs j ON j.id = m.id WHERE j.kept AND j.owner = :owner ORDER BY m.thing, j.id""")
# The size of `:digests` to which no other row of the owner refers. References of other users do not count.
_FREED = text("""
SELECT CAST(coalesce(sum(b.size), 0) AS bigint) FROM blobs b WHERE b.digest = ANY(:digests)
    AND NOT EXISTS (SELECT 1 FROM artifacts a JOIN jobs j ON j.id = a.job_id
        WHERE a.digest = b.digest AND j.owner = :owner AND j.id <> ALL(:jobs))
    AND NOT EXISTS (SELECT 1 FROM job_cells c JOIN jobs j ON j.id = c.job_id
        WHERE c.digest = b.digest AND j.owner = :owner AND j.id <> ALL(:jobs))
    AND NOT EXISTS (SELECT 1 FROM vectors v LEFT JOIN extractions e ON e.id = v.extraction_id
        WHERE v.digest = b.digest AND v.owner = :owner AND v.id <> ALL(:vectors) AND coalesce(e.job_id, '') <> ALL(:jobs))
    AND NOT EXISTS (SELECT 1 FROM traits t WHERE t.version = b.digest AND t.owner = :owner AND t.id <> ALL(:traits))""")


@dataclass(frozen=True)
class Going:
    """Ids of the jobs, vectors and traits that one deletion removes, and the user who owns them all."""

    owner: str
    jobs: Sequence[str] = ()
    vectors: Sequence[str] = ()
    traits: Sequence[str] = ()


def job_of(session: Session, identifier: str) -> str:
    """Returns the id of the job that made the result with this id; any other id is returned unchanged."""
    table = RESULTS.get(identifier.partition("_")[0])
    made_by = None if table is None else session.scalar(select(table.job_id).where(table.id == identifier))
    return identifier if made_by is None else made_by


def jobs(session: Session, ids: Sequence[str], *, lock: bool) -> dict[str, Job]:
    """Returns the jobs of these ids that still exist, by id, read from the database again.

    `lock` blocks changes and new references until the transaction ends.
    """
    statement = select(Job).where(Job.id.in_(ids)).order_by(Job.id).execution_options(populate_existing=True)
    return {job.id: job for job in session.scalars(statement.with_for_update() if lock else statement)}


def vectors_made_by(session: Session, job_ids: Sequence[str], *, lock: bool) -> dict[str, str]:
    """Returns the vectors that these jobs extracted: `{vector id: job id}`. `lock` as in `jobs`."""
    statement = select(Vector.id, Extraction.job_id).join(Extraction, Extraction.id == Vector.extraction_id)
    statement = statement.where(Extraction.job_id.in_(job_ids)).order_by(Vector.id)
    rows = session.execute(statement.with_for_update(of=Vector) if lock else statement)
    return {row.id: row.job_id for row in rows}


def vector(session: Session, vector_id: str, *, lock: bool) -> Vector | None:
    """Returns the vector, or None if it was deleted; `lock` as in `jobs`."""
    return session.get(Vector, vector_id, with_for_update=lock, populate_existing=True)


def traits_of_version(session: Session, version: str, *, lock: bool) -> Sequence[Trait]:
    """Returns all traits with this content, of every user; `lock` as in `jobs`."""
    statement = select(Trait).where(Trait.version == version).order_by(Trait.id).execution_options(populate_existing=True)
    return session.scalars(statement.with_for_update() if lock else statement).all()


def kept_users(session: Session, job_ids: Sequence[str], owner: str) -> Sequence[Row[str, str]]:
    """Returns rows `(job, kept job)`: the owner's kept jobs that come after these jobs, directly or through other jobs."""
    return session.execute(_KEPT, {"jobs": list(job_ids), "owner": owner}).all()


def studies_of(session: Session, job_ids: Sequence[str], owner: str) -> Sequence[Row[str, str]]:
    """Returns rows `(job, study)`: the owner's studies that these jobs belong to, without the studies that are deleted with them."""
    statement = select(JobEdge.after_id, Study.id).join(Study, Study.job_id == JobEdge.job_id)
    statement = statement.where(JobEdge.after_id.in_(job_ids), Study.job_id.not_in(job_ids), Study.owner == owner)
    return session.execute(statement.order_by(JobEdge.after_id, Study.id)).all()


def digests_of(session: Session, job_ids: Sequence[str]) -> Sequence[str]:
    """Returns the SHA-256 digests of the stored objects that these jobs refer to, one entry per reference."""
    return session.scalars(_FILES, {"jobs": list(job_ids)}).all()


def freed(session: Session, digests: Sequence[str], going: Going) -> int:
    """Returns the bytes of these objects that no longer count toward the owner's `stored_bytes`: no other row of the owner refers to them.

    Other users may still refer to them; then the objects stay.
    """
    gone = {name: list(getattr(going, name)) for name in ("jobs", "vectors", "traits")}
    return session.scalar(_FREED, {"digests": sorted(set(digests)), "owner": going.owner, **gone}) or 0


def remove(session: Session, going: Going) -> None:
    """Deletes the rows. Foreign keys delete a job's history, results, files, idempotency keys and webhook deliveries with it."""
    unsynchronised = {"synchronize_session": False}
    if going.jobs:
        session.execute(delete(JobEdge).where(JobEdge.after_id.in_(going.jobs)), execution_options=unsynchronised)
        for column in (Job.retry_of, Model.inspect_job):
            statement = update(column.class_).where(column.in_(going.jobs)).values({column: None})
            session.execute(statement, execution_options=unsynchronised)
    for table, ids in ((Job, going.jobs), (Vector, going.vectors), (Trait, going.traits)):
        if ids:
            session.execute(delete(table).where(table.id.in_(ids)), execution_options=unsynchronised)
