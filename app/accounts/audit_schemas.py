"""Audit entries as the API shows them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.http.paging import Page


class AuditOut(BaseModel):
    """One act, and how often it was repeated on its day."""

    id: str
    at: datetime = Field(description="the first time, where the act was repeated that day")
    count: int = Field(description="how often that day (UTC): the same act by the same key on the same object is one entry")
    last_at: datetime | None = Field(description="the last time, where there was more than one")
    actor: str = Field(description="the holder of the key; `cli:name` for an account of the server itself")
    key_id: str | None = Field(description="null for what was done on the server itself")
    action: str = Field(description="what was acted on and how", examples=["key.revoke"])
    object: str = Field(description="its id or name")
    outcome: Literal["done", "denied"]
    request_id: str | None
    details: dict[str, Any]


AuditPage = Page[AuditOut]
