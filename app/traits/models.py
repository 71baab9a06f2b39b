"""The table of trait datasets. A dataset is a blob; its version is the blob's digest."""

from datetime import datetime

from sqlalchemy import DateTime, ForeignKey, Index, String, Text, UniqueConstraint, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.auth.visibility import Shareable, sharing_checks
from app.db import Base
from terms.documents.trait import TraitCounts


class Trait(Shareable, Base):
    """One version of a dataset, as uploaded by one owner. The shipped traits are public."""

    __tablename__ = "traits"
    __table_args__ = (
        UniqueConstraint("owner", "name", "version"),
        *sharing_checks(),
        Index("traits_name_idx", "name", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    version: Mapped[str] = mapped_column(ForeignKey("blobs.digest"), index=True, doc="sha256 of the dataset's canonical JSON")
    definition: Mapped[str] = mapped_column(Text)
    counts: Mapped[TraitCounts] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
