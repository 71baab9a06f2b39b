"""SQL query for the vectors of an extraction that can be exported."""

from collections.abc import Sequence

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from app.extractions.models import Vector


def places(session: Session, extraction_id: str) -> Sequence[Row[str | None, str, str, int]]:
    """Returns `(position, component, method, layer)` of every vector of an extraction."""
    columns = (Vector.position, Vector.component, Vector.method, Vector.layer)
    return session.execute(select(*columns).where(Vector.extraction_id == extraction_id).order_by(*columns)).all()
