"""What users use: device time by day, an account that outlives its jobs, and bytes, counted as references to objects come and go."""

from datetime import date

from sqlalchemy import BigInteger, Date, Double, Identity, Index, Integer, String, Text, text
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


# The tables below are written by triggers of the database alone (migrations 0006 and 0011), so that every way in which a reference comes or goes
# is counted: workers of any version, retention, deletions that cascade.


class StoredObject(Base):
    """How many rows of an owner refer to an object."""

    __tablename__ = "stored_objects"
    __table_args__ = (Index("stored_objects_digest_idx", "digest"),)

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    refs: Mapped[int] = mapped_column(BigInteger)


class StoredChange(Base):
    """An owner's first reference to objects, or the end of their last one. Appended, so that no transaction waits for another here."""

    __tablename__ = "stored_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    objects: Mapped[int] = mapped_column(BigInteger)


class StoredTotal(Base):
    """The sum of an owner's changes that were added up so far; the reconciler adds further ones."""

    __tablename__ = "stored_totals"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    objects: Mapped[int] = mapped_column(BigInteger)


class StoredNews(Base):
    """An object with a new owner, or with one less: whether users share it is to be asked anew."""

    __tablename__ = "stored_news"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    digest: Mapped[str] = mapped_column(Text)


class StoredShared(Base):
    """An owner of an object that several users refer to, as the reconciler last found it; objects in the news are asked about anew."""

    __tablename__ = "stored_shared"

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
