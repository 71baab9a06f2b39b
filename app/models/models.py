"""The tables of models that jobs can use and of passports, with the facts of their inspection and the outcome of their proofs."""

from datetime import datetime

from sqlalchemy import Boolean, CheckConstraint, DateTime, ForeignKey, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.documents.jobs import ErrorFacts
from terms.documents.model import ModelFactsDocument
from terms.documents.passport import PassportDocument, ProvedContent


class Passport(Base):
    """The proofs for one content: hashes of files, type, kind of device, versions of the programs (`workers/lm/proofs/content.py`)."""

    __tablename__ = "passports"
    __table_args__ = (CheckConstraint("outcome IN ('passed','limited','refused')", name="outcome"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True, doc="sha256 of the content")
    content: Mapped[ProvedContent] = mapped_column(JSONB)
    outcome: Mapped[str] = mapped_column(String(7))
    reading_hash: Mapped[str | None] = mapped_column(String(64), doc="what texts are read as; null where the model cannot be run")
    passport: Mapped[PassportDocument] = mapped_column(JSONB, doc="version, outcome, reading_hash and every proof")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class Model(Base):
    """A model that an administrator allowed: a local folder, or a hub id with a pinned revision."""

    __tablename__ = "models"
    __table_args__ = (CheckConstraint("state IN ('inspecting','ready','faulty')", name="state"),)

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    source: Mapped[str] = mapped_column(Text, doc="a folder's absolute path, or owner/name on the hub")
    revision: Mapped[str | None] = mapped_column(String(64), doc="commit of a hub model; null for a folder")
    state: Mapped[str] = mapped_column(String(12), server_default=text("'inspecting'"))
    proving: Mapped[bool] = mapped_column(
        Boolean, server_default=text("false"), doc="inspected, and not usable before its proofs; older programs see `inspecting`"
    )
    inspect_job: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    prove_job: Mapped[str | None] = mapped_column(ForeignKey("jobs.id", ondelete="SET NULL"))
    facts: Mapped[ModelFactsDocument] = mapped_column(
        JSONB, server_default=text("'{}'"), doc="layers, width, context, hashes, file stats, what texts are read as"
    )
    passport: Mapped[str | None] = mapped_column(ForeignKey("passports.key"), doc="null until it is proved")
    fault: Mapped[ErrorFacts | None] = mapped_column(JSONB)
    created_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    removed_at: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True), doc="when it left the list; the row stays for the results that name it"
    )

    @property
    def inspected(self) -> bool:
        """Returns whether the facts describe the files as last inspected."""
        return self.state == "ready" or self.proving

    @property
    def awaited(self) -> str | None:
        """Returns the job that jobs naming the model must wait for, or None."""
        return (self.prove_job or self.inspect_job) if self.state == "inspecting" else None
