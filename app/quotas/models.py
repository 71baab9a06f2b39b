"""The table of quotas. NULL in a user's row: as the server-wide row says; there: no limit but the built-in one."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

EVERYBODY = "*"
"""The owner of the server-wide row; no user can be called so."""
UNLIMITED = 2**63 - 1
"""How "no limit" is stored, so that every comparison in SQL is one."""


class Quota(Base):
    """The limits of one user, or of everybody who has none of their own."""

    __tablename__ = "quotas"
    __table_args__ = (
        CheckConstraint(
            "max_queued >= 0 AND max_running >= 1 AND device_seconds_per_day >= 0 AND stored_bytes >= 0", name="limits"
        ),
    )

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    max_queued: Mapped[int | None] = mapped_column(BigInteger, doc="jobs in the queue, those that wait for others among them")
    max_running: Mapped[int | None] = mapped_column(BigInteger, doc="jobs on devices at once")
    device_seconds_per_day: Mapped[int | None] = mapped_column(BigInteger, doc="of a day in UTC")
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    changed_by: Mapped[str] = mapped_column(String(100))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
