"""Deletes jobs, vectors and traits, each in one transaction, so that a crash leaves all of it or nothing."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth.sharing import require_management
from app.auth.viewer import Viewer
from app.deletion import repository
from app.deletion.holders import Holders, holders, in_use, sentence
from app.deletion.repository import Going
from app.deletion.schemas import DeletionOut, GoneOut, StaysOut
from app.errors import Problem, not_found
from app.extractions import service as extractions
from app.extractions.models import Extraction
from app.jobs import repository as job_repository
from app.jobs.kinds import kind_named
from app.jobs.models import Job
from app.jobs.states import FINISHED
from app.jobs.uses import uses
from app.traits import service as traits
from app.traits.models import Trait

SHIPPED = "binnacle"
"""The owner of the shipped traits."""


def delete_job(session: Session, identifier: str, viewer: Viewer, *, dry_run: bool = False) -> DeletionOut:
    """Deletes a finished job with everything that it made, and for a study also the jobs submitted for it that nothing else uses.

    `identifier` is the id of the job or of its result. `dry_run`: returns what would be deleted, and deletes nothing. Raises Problem 404 for an
    unknown job, 403 for a job of another user, 409 for a job that is unfinished, kept or in use.
    """
    job = job_repository.find(session, repository.job_of(session, identifier), viewer)
    if job is None:
        raise not_found("job or result", identifier)
    require_management(viewer, job.owner, identifier)
    parts = kind_named(job.kind).parts(session, job)
    jobs = repository.jobs(session, [*parts, job.id], lock=not dry_run)
    if job.id not in jobs:
        raise not_found("job or result", identifier)
    _check_finished(job)
    vectors = repository.vectors_made_by(session, list(jobs), lock=not dry_run)
    held = holders(session, list(jobs), vectors, job.owner)
    if job.id in held:
        raise in_use(session, job.id, held[job.id], viewer)
    stays = [_staying(session, row, held.get(row.id), viewer) for row in jobs.values() if _must_stay(row, held)]
    goes = [row for row in jobs.values() if not _must_stay(row, held)]
    going = Going(job.owner, jobs=[row.id for row in goes])
    gone = set(going.jobs)
    digests = repository.digests_of(session, going.jobs)
    deletion = DeletionOut(
        dry_run=dry_run, deleted=[_gone(row) for row in goes], stays=stays, files=len(digests),
        vectors=sum(made_by in gone for made_by in vectors.values()), bytes=repository.freed(session, digests, going),
    )  # fmt: skip
    if not dry_run:
        repository.remove(session, going)
        audit.record(
            session, viewer, "job.delete", job.id,
            owner=job.owner, kind=job.kind, name=job.name, jobs=going.jobs, bytes=deletion.bytes,
        )  # fmt: skip
    return deletion


def delete_finished(session: Session, ids: Sequence[str], owner: str) -> list[str]:
    """Deletes the owner's jobs among `ids` that are finished, not kept and not in use, with everything that they made; returns their ids.

    Adds no audit entry: the caller does.
    """
    jobs = repository.jobs(session, ids, lock=True)
    vectors = repository.vectors_made_by(session, list(jobs), lock=True)
    held = holders(session, list(jobs), vectors, owner)
    goes = [job.id for job in jobs.values() if not _must_stay(job, held)]
    if goes:
        repository.remove(session, Going(owner, jobs=goes))
    return goes


def _check_finished(job: Job) -> None:
    """Raises Problem 409 for a job that is unfinished or kept."""
    if job.state not in FINISHED:
        detail = f"{job.id} is {job.state}: cancel it first (POST /v1/jobs/{job.id}/cancel), or wait until it ends."
        raise Problem(409, "job_not_finished", detail)
    if job.kept:
        detail = f"{job.id} is kept: stop keeping it first (binnacle edit {job.id} --no-keep; PATCH /v1/jobs/{job.id})."
        raise Problem(409, "job_kept", detail)


def _must_stay(job: Job, held: dict[str, Holders]) -> bool:
    return job.kept or job.state not in FINISHED or job.id in held


def _staying(session: Session, job: Job, held: Holders | None, viewer: Viewer) -> StaysOut:
    why = "It is kept." if job.kept else f"It is {job.state}."
    return StaysOut(**_gone(job).model_dump(), why=why if held is None else sentence(session, held, viewer))


def _gone(job: Job) -> GoneOut:
    return GoneOut(id=job.id, kind=job.kind, name=job.name)


def delete_vector(session: Session, vector_id: str, viewer: Viewer, *, dry_run: bool = False) -> DeletionOut:
    """Deletes an imported vector; `dry_run` as in `delete_job`.

    Raises Problem 404 for an unknown vector, 403 for a vector of another user, 409 for a vector that was extracted or is in use.
    """
    row = extractions.vector(session, vector_id, viewer)
    if row.extraction_id is not None:
        made_by = session.get(Extraction, row.extraction_id)
        where = "" if made_by is None else f": DELETE /v1/jobs/{made_by.job_id}"
        raise Problem(409, "goes_with_its_job", f"{vector_id} was extracted and is deleted with the job that made it{where}.")
    require_management(viewer, row.owner, vector_id)
    current = repository.vector(session, vector_id, lock=not dry_run)
    if current is None:
        raise not_found("vector", vector_id)
    _check_unused(session, vector_id, vector_id, viewer)
    going = Going(current.owner, vectors=[vector_id])
    deletion = DeletionOut(
        dry_run=dry_run, deleted=[GoneOut(id=vector_id, kind="vector", name=current.name)], stays=[], files=0, vectors=1,
        bytes=repository.freed(session, [current.digest], going),
    )  # fmt: skip
    if not dry_run:
        repository.remove(session, going)
        audit.record(session, viewer, "vector.delete", vector_id, owner=current.owner, model=current.model, bytes=deletion.bytes)
    return deletion


def delete_trait(session: Session, reference: str, viewer: Viewer, *, dry_run: bool = False) -> DeletionOut:
    """Deletes one version of a trait, named by its id, `name@version` or name; `dry_run` as in `delete_job`.

    Raises Problem 404 for an unknown trait, 403 for a trait of another user, 409 for a trait that is shipped or in use, or for a
    name with several versions of its owner.
    """
    row = traits.one(session, reference, viewer)
    require_management(viewer, row.owner, row.id)
    if row.owner == SHIPPED:
        raise Problem(
            409,
            "trait_shipped",
            f"{row.name} ships with this service, which would add it again at its next start. Make it private, which hides it from other users.",
        )
    same = repository.traits_of_version(session, row.version, lock=not dry_run)
    if row.id not in {trait.id for trait in same}:
        raise not_found("trait", reference)
    if len(same) == 1:  # otherwise jobs still find the same content in another row
        _check_unused(session, _reference(row), row.version, viewer)
    going = Going(row.owner, traits=[row.id])
    deletion = DeletionOut(
        dry_run=dry_run, deleted=[GoneOut(id=row.id, kind="trait", name=_reference(row))], stays=[], files=0, vectors=0,
        bytes=repository.freed(session, [row.version], going),
    )  # fmt: skip
    if not dry_run:
        repository.remove(session, going)
        audit.record(session, viewer, "trait.delete", row.id, owner=row.owner, name=_reference(row), bytes=deletion.bytes)
    return deletion


def _reference(trait: Trait) -> str:
    return f"{trait.name}@{trait.version[:12]}"


def _check_unused(session: Session, identifier: str, thing: str, viewer: Viewer) -> None:
    """Raises Problem 409 if unfinished jobs use `thing`, a vector's id or a trait's version; `identifier` names it in the message."""
    jobs = list(dict.fromkeys(use.job for use in uses(session, {thing})))
    if jobs:
        raise in_use(session, identifier, Holders(unfinished=jobs), viewer)
