"""Counters of values that are slow to count: finished jobs by kind and state, bytes of stored objects.

Database triggers insert each change as a row (migration 0011): transactions that updated one sum would wait for each other. The reconciler
moves changes into the sums; a reader adds the sum and the changes not yet moved.
"""

from sqlalchemy import BigInteger, Identity, String, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base

FINISHED, DISK = "finished", "disk"
_READ = text("""
SELECT key, CAST(sum(amount) AS bigint) AS amount FROM (
    SELECT key, amount FROM tallies WHERE name = :name UNION ALL SELECT key, amount FROM tally_changes WHERE name = :name
) AS parts GROUP BY key HAVING sum(amount) <> 0 ORDER BY key""")
_ADD_UP = text("""
WITH taken AS (
    DELETE FROM tally_changes WHERE id IN (SELECT id FROM tally_changes ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING name, key, amount
)
INSERT INTO tallies AS t (name, key, amount) SELECT name, key, sum(amount) FROM taken GROUP BY name, key ORDER BY name, key
ON CONFLICT (name, key) DO UPDATE SET amount = t.amount + excluded.amount""")


class Tally(Base):
    """The sum of a counter, without the changes that are still rows of TallyChange."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    key: Mapped[str] = mapped_column(String(120), primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)


class TallyChange(Base):
    """A change of a counter that is not yet part of its sum."""

    __tablename__ = "tally_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(20))
    key: Mapped[str] = mapped_column(String(120))
    amount: Mapped[int] = mapped_column(BigInteger)


def tally(session: Session, name: str) -> dict[str, int]:
    """Returns the counters with this name by their keys, without those at 0."""
    return {row.key: row.amount for row in session.execute(_READ, {"name": name})}


def add_up(session: Session, *, most: int = 100_000) -> None:
    """Moves changes into the sums. Several processes may do this at once; readers count each change once."""
    session.execute(_ADD_UP, {"most": most})
