"""Request and response schemas of retention."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class RetentionRequest(BaseModel):
    """Which results to remove."""

    model_config = ConfigDict(extra="forbid", strict=True)

    older_than_days: float = Field(gt=0, le=36_500, description="days since their job ended", examples=[90])


class OldResultOut(BaseModel):
    """The results of one job."""

    job: str
    kind: str
    owner: str
    name: str | None
    finished_at: datetime
    age_days: float
    files: int
    bytes: int


class RetentionOut(BaseModel):
    """Results that can be or were removed: of finished jobs that are not kept and not needed by unfinished jobs."""

    older_than_days: float
    removed: bool
    jobs: int
    files: int
    bytes: int = Field(description="bytes of all their objects, each counted once; objects in use elsewhere stay")
    freed_bytes: int | None = Field(description="bytes freed at once; the rest follows within a day. Null if nothing was removed")
    items: list[OldResultOut] = Field(description="the oldest, at most 200")
