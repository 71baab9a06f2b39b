"""Response schemas of a deletion."""

from pydantic import BaseModel, Field


class GoneOut(BaseModel):
    """One job, vector or trait that is deleted."""

    id: str
    kind: str = Field(description="kind of the job, or `vector` or `trait`", examples=["extract"])
    name: str | None


class StaysOut(GoneOut):
    """A job of the study that is not deleted, and why."""

    why: str


class DeletionOut(BaseModel):
    """The deleted objects and files, or in a dry run those that would be deleted."""

    dry_run: bool
    deleted: list[GoneOut]
    stays: list[StaysOut] = Field(description="jobs of the study that are still in use elsewhere")
    files: int = Field(description="artifacts and stored parts that are deleted")
    vectors: int
    bytes: int = Field(
        description="bytes that no longer count toward the owner's `stored_bytes`; the disk space is free within about a day"
    )
