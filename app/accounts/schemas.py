"""Request and response schemas of users, groups and keys."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.auth.sharing import Name
from app.auth.viewer import Role, Scope
from app.http.paging import Page
from app.text import Line

Label = Annotated[Line, StringConstraints(min_length=1, max_length=100)]
LONGEST_DAYS = 3650
LONGEST_OVERLAP = 24 * 30


class KeyRequest(BaseModel):
    """A request for a key; its user is created if it does not exist."""

    model_config = ConfigDict(extra="forbid", strict=True)

    owner: Name = Field(description="the user the key acts for", examples=["ada"])
    role: Role = "member"
    scopes: list[Scope] | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="at most what the role allows; everything it allows when left out. `read` is always included",
    )
    days: int | None = Field(
        None, ge=1, le=LONGEST_DAYS, description="days until the key expires; it never expires when left out"
    )
    label: Label | None = Field(None, description="where the key is used", examples=["laptop"])


class RotateRequest(BaseModel):
    """How a key is replaced by a new key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_hours: float = Field(
        24, ge=0, le=LONGEST_OVERLAP, description="how long both keys are valid; 0 ends the old key at once"
    )
    days: int | None = Field(
        None,
        ge=1,
        le=LONGEST_DAYS,
        description="days until the new key expires; the lifetime of the old key when left out",
    )


class KeyOut(BaseModel):
    """A key, without its secret, which is not stored."""

    id: str
    owner: str
    role: Role
    scopes: list[Scope]
    label: str | None
    live: bool = Field(description="true: neither revoked nor expired, and its user is not disabled")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="when the key was last used, to the minute")
    replaces: str | None = Field(description="the key it was rotated from")
    links: dict[str, str]


class NewKeyOut(KeyOut):
    """A new key."""

    key: str = Field(description="the key itself: no other answer contains it")


class KeyPage(Page[KeyOut]):
    """Keys, newest first."""


class UserRequest(BaseModel):
    """A user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(examples=["ada"])


class UserEdit(BaseModel):
    """Changes to a user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    disabled: bool = Field(description="true: the user's keys are not valid; the user's jobs and results stay")


class UserOut(BaseModel):
    """A holder of keys."""

    name: str
    groups: list[str]
    live_keys: int = Field(description="keys that are neither revoked nor expired")
    created_by: str
    created_at: datetime
    disabled_at: datetime | None
    links: dict[str, str]


class UserPage(Page[UserOut]):
    """Users by name."""


class GroupRequest(BaseModel):
    """A group."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(examples=["interp"])


class GroupOut(BaseModel):
    """A group and its members."""

    name: str
    members: list[str]
    created_by: str
    created_at: datetime
    links: dict[str, str]


class GroupList(BaseModel):
    """All groups, by name."""

    items: list[GroupOut]


class MeOut(BaseModel):
    """The caller's user, and the rights of the key."""

    owner: str
    role: Role
    scopes: list[Scope] = Field(description="what both the key's scopes and its role allow")
    groups: list[str]
    key_id: str | None = Field(description="null on a server without keys")
