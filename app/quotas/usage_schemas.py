"""Response schemas of usage."""

from datetime import date, datetime

from pydantic import BaseModel, Field

from app.quotas.schemas import LimitsOut


class DayOut(BaseModel):
    """Attempts that ended on a day (UTC)."""

    day: date
    device_seconds: float = Field(description="seconds on devices")
    light_seconds: float = Field(description="seconds of light workers, which need no device")
    attempts: int


class UserUsage(BaseModel):
    """A user's storage, running jobs and use of devices."""

    user: str
    stored_bytes: int = Field(
        description="bytes of every object that the user's jobs, vectors and traits refer to, each counted once"
    )
    shared_bytes: int | None = Field(
        description="bytes of those objects that other users refer to as well: they count for each user but are "
        "stored once; only administrators see this"
    )
    objects: int
    queued: int
    running: int
    running_seconds: float = Field(description="seconds of the jobs on devices now; they are booked on the day the jobs end")
    device_seconds_today: float = Field(description="seconds booked today plus running: what the daily quota counts")
    device_seconds: float = Field(description="seconds booked in the requested days plus running")
    days: list[DayOut] = Field(description="days with any use, oldest first")
    limits: LimitsOut


class UsageOut(BaseModel):
    """Use by user, the largest first."""

    since: date
    resets_at: datetime = Field(description="when the daily quotas reset")
    on_disk_bytes: int | None = Field(description="bytes of all objects, each counted once; only administrators see this")
    items: list[UserUsage]
