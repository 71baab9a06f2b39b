"""Chores: periodic housekeeping that only one process does. The process that begins a chore first owns it for the period."""

from datetime import datetime

from sqlalchemy import DateTime, String, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base
from app.moments import ago


class Chore(Base):
    """The time at which a chore was last begun."""

    __tablename__ = "chores"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    begun_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


def taken(session: Session, name: str, *, every_seconds: float) -> bool:
    """Returns whether the caller should do the chore: no process began it within `every_seconds`, less half a minute since loops drift."""
    since = ago(seconds=max(0.0, every_seconds - 30))
    begin = (
        insert(Chore)
        .values(name=name)
        .on_conflict_do_update(index_elements=[Chore.name], set_={"begun_at": func.now()}, where=Chore.begun_at < since)
    )
    return session.scalar(begin.returning(Chore.name)) is not None
