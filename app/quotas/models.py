"""The table of quotas. NULL in a user's row means the server-wide limit; NULL in the server-wide row means the built-in limit."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base

EVERYBODY = "*"
"""The owner of the server-wide row; not a valid user name."""
UNLIMITED = 2**63 - 1
"""The stored value for "no limit", so that SQL can compare numbers."""


class Quota(Base):
    """The limits of a user, or the server-wide limits."""

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
