"""Every statement about what can be exported."""

from collections.abc import Sequence

from sqlalchemy import Row, or_, select
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.extractions.models import Extraction, Vector


def extraction(session: Session, identifier: str, viewer: Viewer) -> Extraction | None:
    """By its own id or by that of the job that made it, if the viewer may see it."""
    statement = select(Extraction).where(or_(Extraction.id == identifier, Extraction.job_id == identifier))
    if viewer.role != "admin":
        statement = statement.where(Extraction.owner == viewer.owner)
    return session.scalars(statement).one_or_none()


def places(session: Session, extraction_id: str) -> Sequence[Row[str | None, str, str, int]]:
    """`(position, component, method, layer)` of every vector of an extraction."""
    columns = (Vector.position, Vector.component, Vector.method, Vector.layer)
    return session.execute(select(*columns).where(Vector.extraction_id == extraction_id).order_by(*columns)).all()
