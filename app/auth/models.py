"""Tables of users, groups and keys. Only an HMAC of each key is stored, never the secret."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, LargeBinary, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

Timestamp = DateTime(timezone=True)


class User(Base):
    """A person or program that holds keys. When disabled, its keys stop working but its objects stay."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    created_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Group(Base):
    """Users who may see objects that a member shares with the group."""

    __tablename__ = "groups"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    created_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class GroupMember(Base):
    """The membership of a user in a group."""

    __tablename__ = "group_members"

    group_name: Mapped[str] = mapped_column(ForeignKey("groups.name", ondelete="CASCADE"), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name", ondelete="CASCADE"), primary_key=True, index=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())


class ApiKey(Base):
    """A key `bnk_<id>_<secret><crc>`; `id` is public and used for lookup, only the holder knows the secret."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("role IN ('viewer','member','admin')", name="role"),
        CheckConstraint("scopes <@ '{read,submit,admin}' AND 'read' = ANY (scopes)", name="scopes"),
    )

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    owner: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    role: Mapped[str] = mapped_column(String(10))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(10)), server_default=text("'{read,submit,admin}'"))
    label: Mapped[str | None] = mapped_column(String(100), doc="where it is used: laptop, nightly runs")
    secret_hmac: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    replaces: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"), unique=True, doc="the key it was rotated from")
