"""Statements about sign-in tickets."""

import hashlib
from datetime import timedelta

from sqlalchemy import delete, func, insert
from sqlalchemy.orm import Session

from app.pages.models import SignInTicket


def add_ticket(session: Session, ticket: str, key_id: str, *, lifetime: timedelta) -> None:
    """Keeps a new ticket and removes those that have expired."""
    session.execute(delete(SignInTicket).where(SignInTicket.expires_at < func.now()))
    session.execute(insert(SignInTicket).values(digest=_digest(ticket), key_id=key_id, expires_at=func.now() + lifetime))


def take_ticket(session: Session, ticket: str) -> str | None:
    """The id of the key that the ticket signs in with; None when it is unknown, used or expired. One caller alone gets it."""
    statement = delete(SignInTicket).where(SignInTicket.digest == _digest(ticket), SignInTicket.expires_at >= func.now())
    return session.scalars(statement.returning(SignInTicket.key_id)).one_or_none()


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
