"""Request and response schemas of webhooks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.text import Line

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class WebhookRequest(BaseModel):
    """A request to add a webhook. The server makes its secret and shows it once, in the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(pattern=NAME)] = Field(description="the name that jobs use", examples=["lab-slack"])
    url: Line = Field(
        min_length=1,
        max_length=2000,
        description="where messages are posted",
        examples=["https://hooks.slack.com/services/T0/B0/x"],
    )
    private: bool = Field(False, description="true: the host may be in a private network; numeric addresses are always allowed")


class WebhookOut(BaseModel):
    """A webhook. Addresses of chat services are secrets, so only administrators see `url`."""

    name: str
    host: str
    url: str | None = Field(description="shown only to administrators")
    private: bool
    created_by: str
    created_at: datetime


class WebhookMade(WebhookOut):
    """A new webhook with its secret."""

    secret: str = Field(
        description="the secret with which receivers check signatures; shown only in this answer and never stored"
    )


class WebhookList(BaseModel):
    """All webhooks, by name."""

    items: list[WebhookOut]


class DeliveryOut(BaseModel):
    """One message to one webhook, and its delivery."""

    id: str
    webhook: str
    job: str | None = Field(description="the job; null for a test message")
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    status: int | None = Field(description="HTTP status of the last answer")
    error: str | None = Field(description="why the last attempt failed")
    created_at: datetime
    next_at: datetime | None = Field(description="when it is sent again; null when no further attempt follows")
    finished_at: datetime | None
