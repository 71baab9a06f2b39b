"""Database statements for sign-in tickets."""

import hashlib

from sqlalchemy import delete, func, insert
from sqlalchemy.orm import Session

from app.moments import ahead
from app.pages.models import SignInTicket


def add_ticket(session: Session, ticket: str, key_id: str, *, lifetime: float) -> None:
    """Stores a new ticket that expires after `lifetime` seconds, and deletes expired tickets."""
    session.execute(delete(SignInTicket).where(SignInTicket.expires_at < func.now()))
    session.execute(insert(SignInTicket).values(digest=_digest(ticket), key_id=key_id, expires_at=ahead(seconds=lifetime)))


def take_ticket(session: Session, ticket: str) -> str | None:
    """Uses up a ticket and returns the id of its key; None when it is unknown, used or expired. Only one caller gets the id."""
    statement = delete(SignInTicket).where(SignInTicket.digest == _digest(ticket), SignInTicket.expires_at >= func.now())
    return session.scalars(statement.returning(SignInTicket.key_id)).one_or_none()


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
