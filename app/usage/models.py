"""Device time by user and day: the account that outlives the jobs it is about."""

from datetime import date

from sqlalchemy import Date, Double, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class UsageDay(Base):
    """What a user's attempts that ended on one day (UTC) used. Added to in the transaction that ends an attempt."""

    __tablename__ = "usage_days"
    __table_args__ = (Index("usage_days_day_idx", "day"),)

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    job_class: Mapped[str] = mapped_column(String(10), primary_key=True)
    device_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
