"""Deleting over HTTP: the same rules and the same answer for jobs, vectors and traits."""

from typing import Annotated

from fastapi import Path, Query

from app.deletion import service
from app.deletion.schemas import DeletionOut
from app.extractions.vector_routes import VectorId
from app.http.access import Member, keyed_router
from app.http.context import Shared
from app.http.problems import documented
from app.traits.routes import Reference

router = keyed_router(prefix="/v1", tag="deletion")

DryRun = Annotated[bool, Query(description="only show what would be deleted and what stays")]
WhatId = Annotated[
    str,
    Path(
        pattern=r"^(job|cal|ext|str|std)_[0-9a-z]{26}$",
        description="the id of the job, or of the result it made",
        examples=["job_01k9zq3m4e8v6t2y5w7x9abcde"],
    ),
]


@router.delete(
    "/jobs/{job_id}", operation_id="deleteJob", summary="Delete a finished job", responses=documented(403, 404, 409, 422)
)
async def delete_job(job_id: WhatId, viewer: Member, context: Shared, dry_run: DryRun = False) -> DeletionOut:
    """Deletes a finished job and its results: calibration, vectors, steering, report, files, history. Deleting a study deletes its jobs that
    are not used elsewhere. Refused while unfinished jobs, kept jobs or studies use the job. For its owner and administrators; a deletion
    cannot be undone."""
    return await context.database.run(service.delete_job, job_id, viewer, dry_run=dry_run)


@router.delete(
    "/vectors/{vector_id}",
    operation_id="deleteVector",
    summary="Delete an imported vector",
    responses=documented(403, 404, 409, 422),
)
async def delete_vector(vector_id: VectorId, viewer: Member, context: Shared, dry_run: DryRun = False) -> DeletionOut:
    """Deletes an imported vector. An extracted vector is deleted with the job that made it. Refused while unfinished jobs use it. For its
    owner and administrators."""
    return await context.database.run(service.delete_vector, vector_id, viewer, dry_run=dry_run)


@router.delete(
    "/traits/{reference}", operation_id="deleteTrait", summary="Delete a trait", responses=documented(403, 404, 409, 422)
)
async def delete_trait(reference: Reference, viewer: Member, context: Shared, dry_run: DryRun = False) -> DeletionOut:
    """Deletes one version of a trait: by id, by name@version, or by name if only one version exists. Refused while unfinished jobs use it. For
    its owner and administrators; results that were made with it stay."""
    return await context.database.run(service.delete_trait, reference, viewer, dry_run=dry_run)
