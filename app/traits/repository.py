"""Database statements for traits. Those that take a viewer return only what the viewer may see; the others read one owner's traits,
or add one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, case, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.auth.visibility import seen
from app.settled import settled
from app.traits.models import Trait
from terms.documents.trait import TraitCounts
from terms.values import Json


def _visible(viewer: Viewer) -> Select[Trait]:
    return select(Trait).where(seen(Trait, viewer))


def _nearness(viewer: Viewer) -> ColumnElement[int]:
    """Orders own traits before public ones before those of groups: a colleague's shared trait never replaces a well-known public name."""
    return case(
        (Trait.owner == viewer.owner, 0),
        (Trait.visibility == "public", 1),
        (Trait.group_name.in_(sorted(viewer.groups)), 2),
        else_=3,
    )


def find(session: Session, identifier: str, viewer: Viewer) -> Trait | None:
    """Returns the trait with this id, if the viewer may see it."""
    return session.scalars(_visible(viewer).where(Trait.id == identifier)).one_or_none()


@settled
def named(session: Session, name: str, version: str, viewer: Viewer) -> Sequence[Trait]:
    """Returns the traits with this name and a version with this prefix: own before public, newest first."""
    statement = _visible(viewer).where(Trait.name == name, Trait.version.startswith(version, autoescape=True))
    ordered = statement.order_by(_nearness(viewer), Trait.created_at.desc(), Trait.id.desc())
    return session.scalars(ordered.limit(100)).all()


def names(session: Session, viewer: Viewer, limit: int) -> Sequence[str]:
    """Returns the first names that the viewer may use, in order."""
    visible = _visible(viewer).subquery()
    return session.scalars(select(visible.c.name).distinct().order_by(visible.c.name).limit(limit)).all()


def listing(
    session: Session, viewer: Viewer, *, name: str | None, owner: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[Trait]:
    """Returns a page of traits, newest first; `before` is the `(created_at, id)` of the last entry of the previous page."""
    statement = _visible(viewer).order_by(Trait.created_at.desc(), Trait.id.desc()).limit(limit)
    for column, value in ((Trait.name, name), (Trait.owner, owner)):
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(tuple_(Trait.created_at, Trait.id) < before)
    return session.scalars(statement).all()


def of_owner(session: Session, owner: str, name: str, version: str) -> Trait | None:
    """Returns the trait with exactly this content that this owner uploaded under this name."""
    return session.scalars(select(Trait).where(Trait.owner == owner, Trait.name == name, Trait.version == version)).one_or_none()


def visibilities(session: Session, owner: str, name: str) -> dict[str, str]:
    """Returns the visibility of each version that this owner has of a name, newest first."""
    statement = select(Trait.version, Trait.visibility).where(Trait.owner == owner, Trait.name == name)
    return {row.version: row.visibility for row in session.execute(statement.order_by(Trait.created_at.desc(), Trait.id.desc()))}


def add(session: Session, values: Mapping[str, Json | TraitCounts]) -> bool:
    """Inserts a row with these columns; returns False when its owner already has the same content under the same name."""
    return session.scalar(insert(Trait).values(**values).on_conflict_do_nothing().returning(Trait.id)) is not None
