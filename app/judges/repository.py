"""Database statements for judges."""

from collections.abc import Sequence

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.judges.models import Judge
from terms.values import JsonObject


def find(session: Session, name: str) -> Judge | None:
    """Returns the judge with this name; None if no judge has it."""
    return session.get(Judge, name)


def names(session: Session) -> Sequence[str]:
    """Returns the names of all judges, sorted."""
    return session.scalars(select(Judge.name).order_by(Judge.name)).all()


def listing(session: Session) -> Sequence[Judge]:
    """Returns all judges, by name. An administrator adds each by hand, so they are few."""
    return session.scalars(select(Judge).order_by(Judge.name)).all()


def add(session: Session, row: JsonObject) -> Judge | None:
    """Adds a judge and returns it; None when its name is taken."""
    return session.scalar(insert(Judge).values(**row).on_conflict_do_nothing().returning(Judge))


def delete(session: Session, name: str) -> bool:
    """Deletes the judge with this name; returns whether it existed."""
    return session.scalar(delete_from(Judge).where(Judge.name == name).returning(Judge.name)) is not None
