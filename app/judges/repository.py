"""Database statements for judges."""

from collections.abc import Sequence

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.judges.models import Judge
from terms.values import JsonObject


def find(session: Session, name: str) -> Judge | None:
    """The judge of that name."""
    return session.get(Judge, name)


def names(session: Session) -> Sequence[str]:
    """All names, sorted."""
    return session.scalars(select(Judge.name).order_by(Judge.name)).all()


def listing(session: Session) -> Sequence[Judge]:
    """All judges, by name. An administrator adds each by hand: there are few."""
    return session.scalars(select(Judge).order_by(Judge.name)).all()


def add(session: Session, row: JsonObject) -> Judge | None:
    """The new judge; None when its name is taken."""
    return session.scalar(insert(Judge).values(**row).on_conflict_do_nothing().returning(Judge))


def delete(session: Session, name: str) -> bool:
    """Whether there was one to delete."""
    return session.scalar(delete_from(Judge).where(Judge.name == name).returning(Judge.name)) is not None
