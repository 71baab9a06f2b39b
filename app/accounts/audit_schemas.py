"""Response schemas of the audit log."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.http.paging import Page
from terms.values import JsonField


class AuditOut(BaseModel):
    """One action, and how often it was repeated on that day."""

    id: str
    at: datetime = Field(description="when it happened; the first time, if the action was repeated that day")
    count: int = Field(
        description="how often it happened that day (UTC): the same action by the same key on the same object is one entry"
    )
    last_at: datetime | None = Field(description="the last time, if the action was repeated that day")
    actor: str = Field(description="the user of the key; `cli:name` for an account on the server's own machine")
    key_id: str | None = Field(description="null for actions on the server's own machine")
    action: str = Field(description="the object and the action, such as `key.revoke`", examples=["key.revoke"])
    object: str = Field(description="the object's id or name")
    outcome: Literal["done", "denied"]
    request_id: str | None
    details: JsonField


class AuditPage(Page[AuditOut]):
    """Entries of the audit log, newest first."""
