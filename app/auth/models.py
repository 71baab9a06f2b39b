"""API keys as stored: never the secret, only its HMAC."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, LargeBinary, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class ApiKey(Base):
    """A key `bnk_<id>_<secret><crc>`; `id` is public and the index, the secret is known to its holder alone."""

    __tablename__ = "api_keys"
    __table_args__ = (CheckConstraint("role IN ('viewer','member','admin')", name="role"),)

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), index=True)
    role: Mapped[str] = mapped_column(String(10))
    secret_hmac: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
