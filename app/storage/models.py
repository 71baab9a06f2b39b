"""The table of stored objects. Every reference is a foreign key; only references keep an object."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class BlobRow(Base):
    """An object, stored or about to be stored. Only a row with references guarantees that its object exists."""

    __tablename__ = "blobs"
    __table_args__ = (
        CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest"),
        CheckConstraint("size >= 0", name="size"),
    )

    digest: Mapped[str] = mapped_column(Text, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    touched_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now(), index=True)
