"""Request and response schemas for pausing and draining a worker node, and for nodes that are blocked for another reason."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.text import Line
from terms.values import JsonField


class HoldRequest(BaseModel):
    """The reason, and for how long."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: Line | None = Field(None, max_length=200, description="shown to other users", examples=["notebook until lunch"])
    minutes: float | None = Field(
        None,
        gt=0,
        le=60 * 24 * 90,
        description="minutes until it resumes automatically; it never does when left out",
        examples=[120],
    )


class HoldOut(BaseModel):
    """A worker node that starts no new jobs. `draining`: its current job returns to the queue at the next boundary; `paused`: its current
    job is finished."""

    mode: Literal["paused", "draining"]
    reason: str | None
    by: str
    since: datetime
    until: datetime | None


class BlockedOut(BaseModel):
    """Why a worker node starts no jobs although no administrator paused it."""

    code: str
    detail: str
    facts: JsonField = {}
