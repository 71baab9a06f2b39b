"""Held devices as the API speaks of them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.text import Line


class HoldRequest(BaseModel):
    """Why, and for how long."""

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
    """A worker node that claims nothing new. `draining`: the job it has goes back at its next boundary; `paused`: it is finished."""

    mode: Literal["paused", "draining"]
    reason: str | None
    by: str
    since: datetime
    until: datetime | None


class BlockedOut(BaseModel):
    """Why a worker node claims nothing though nobody holds it."""

    code: str
    detail: str
    facts: dict[str, Any] = {}
