"""Chores: housekeeping that a single process does, every so often. The process that takes a chore first has it for the whole time."""

from datetime import datetime, timedelta

from sqlalchemy import DateTime, String, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base


class Chore(Base):
    """When a chore was last begun."""

    __tablename__ = "chores"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    begun_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


def taken(session: Session, name: str, *, every_seconds: float) -> bool:
    """Whether the chore is the caller's: no process has begun it within this time. Half a minute early counts, as loops drift."""
    since = func.now() - timedelta(seconds=max(0.0, every_seconds - 30))
    begin = (
        insert(Chore)
        .values(name=name)
        .on_conflict_do_update(index_elements=[Chore.name], set_={"begun_at": func.now()}, where=Chore.begun_at < since)
    )
    return session.scalar(begin.returning(Chore.name)) is not None
