"""Tables of usage: device time by day, kept after jobs are deleted, and bytes, counted as references to objects come and go."""

from datetime import date

from sqlalchemy import BigInteger, Date, Double, Identity, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class UsageDay(Base):
    """Use of devices by a user's attempts that ended on a day (UTC); updated in the transaction that ends an attempt."""

    __tablename__ = "usage_days"
    __table_args__ = (Index("usage_days_day_idx", "day"),)

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    job_class: Mapped[str] = mapped_column(String(10), primary_key=True)
    device_seconds: Mapped[float] = mapped_column(Double, server_default=text("0"))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))


# Database triggers write the tables below (migrations 0006 and 0011), so that every change of a reference is counted: by workers of any
# version, retention, cascading deletions. Besides them, only the reconciler writes here: it adds changes up and determines sharing again.


class StoredObject(Base):
    """The number of an owner's rows that refer to an object."""

    __tablename__ = "stored_objects"
    __table_args__ = (Index("stored_objects_digest_idx", "digest"),)

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    refs: Mapped[int] = mapped_column(BigInteger)


class StoredChange(Base):
    """An owner's first reference to objects, or the end of the last one. Append-only, so that transactions do not wait for each other."""

    __tablename__ = "stored_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    objects: Mapped[int] = mapped_column(BigInteger)


class StoredTotal(Base):
    """The sum of an owner's changes that were already added up; the reconciler adds later ones."""

    __tablename__ = "stored_totals"

    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    objects: Mapped[int] = mapped_column(BigInteger)


class StoredNews(Base):
    """An object that gained or lost an owner: whether users share it must be determined again."""

    __tablename__ = "stored_news"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    digest: Mapped[str] = mapped_column(Text)


class StoredShared(Base):
    """An owner of an object that several users refer to, as last determined by the reconciler; changes since are in StoredNews."""

    __tablename__ = "stored_shared"

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    owner: Mapped[str] = mapped_column(String(100), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
