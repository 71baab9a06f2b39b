"""Request and response schemas of quotas."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.quotas.limits import NAMES, Limits
from app.quotas.models import UNLIMITED

LARGEST = 2**53
"""The largest integer that every JSON reader represents exactly."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Said = Count | Literal["unlimited"] | None


class QuotaRequest(BaseModel):
    """Limits to set. Null or left out: the server-wide quota, or in the server-wide quota the built-in limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    max_queued: Said = Field(None, description="jobs in the queue, including those that wait for other jobs; 0 admits none")
    max_running: Annotated[int, Field(ge=1, le=LARGEST)] | Literal["unlimited"] | None = Field(
        None, description="jobs on devices at the same time; further jobs wait and are not refused"
    )
    device_seconds_per_day: Said = Field(
        None, description="device seconds in a day (UTC); jobs submitted before the quota is used up still run"
    )
    stored_bytes: Said = Field(None, description="bytes of all objects that the user's jobs, vectors and traits refer to")


class LimitsOut(BaseModel):
    """Limits in force; null where there is no limit."""

    max_queued: int | None
    max_running: int | None
    device_seconds_per_day: int | None
    stored_bytes: int | None


class QuotaOut(BaseModel):
    """The limits set for a user (or server-wide, `user` null), and the limits that follow."""

    user: str | None
    said: QuotaRequest
    limits: LimitsOut
    changed_by: str | None
    changed_at: datetime | None


class QuotaList(BaseModel):
    """The server-wide quota and every user's own one."""

    default: QuotaOut
    items: list[QuotaOut]


class QuotaUse(BaseModel):
    """One quota: how much of it is used, how much a request would add, and when it goes down."""

    quota: Literal["max_queued", "device_seconds_per_day", "stored_bytes"]
    limit: int
    used: float
    adding: float
    resets_at: datetime | None = Field(description="when it resets; null if it falls as jobs start or objects are deleted")


class Admission(BaseModel):
    """Whether the quotas admit a request now."""

    would_pass: bool
    detail: str | None = Field(description="the quota that would be exceeded, with the arithmetic")
    quotas: list[QuotaUse] = Field(description="every quota of the user")


def limits_out(limits: Limits) -> LimitsOut:
    """Returns the limits for the API, with null for no limit."""
    return LimitsOut(**{name: None if (value := getattr(limits, name)) == UNLIMITED else value for name in NAMES})
