"""What users use, as the API tells it."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from app.quotas.schemas import LimitsOut


class DayOut(BaseModel):
    """Attempts that ended on one day, in UTC."""

    day: date
    device_seconds: float = Field(description="on devices")
    light_seconds: float = Field(description="of light workers, which need no device")
    attempts: int


class UserUsage(BaseModel):
    """What one user stores, has under way and has used."""

    user: str
    stored_bytes: int = Field(description="of every object that their jobs, vectors and traits refer to, each once")
    shared_bytes: int | None = Field(
        description="of those among them that others refer to too: they count for each, and lie on the disk once; administrators see it"
    )
    objects: int
    queued: int
    running: int
    running_seconds: float = Field(description="of jobs on devices now; they are booked on the day they end")
    device_seconds_today: float = Field(description="booked today and running: what the daily quota looks at")
    device_seconds: float = Field(description="booked in the days asked for, and running: never less than today's")
    days: list[DayOut] = Field(description="days with any use, oldest first")
    limits: LimitsOut


class UsageOut(BaseModel):
    """Use by user, the largest first."""

    since: date
    resets_at: datetime = Field(description="when the daily quotas begin anew")
    on_disk_bytes: int | None = Field(description="all objects, each once; administrators see it")
    items: list[UserUsage]
