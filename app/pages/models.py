"""The table of single-use tickets with which `binnacle open` signs a browser in."""

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class SignInTicket(Base):
    """A ticket, by the SHA-256 of its text. `key_id` is the key that it signs in with, empty on a server without keys."""

    __tablename__ = "sign_in_tickets"

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    key_id: Mapped[str] = mapped_column(String(8))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
