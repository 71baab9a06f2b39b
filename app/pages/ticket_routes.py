"""HTTP route of tickets: a caller with a key requests one, and the browser that shows it is signed in as that caller."""

import secrets

from fastapi import Response
from pydantic import BaseModel, Field

from app.http.access import Caller, keyed_router
from app.http.context import Shared
from app.http.problems import documented
from app.pages import repository

router = keyed_router(prefix="/v1", tag="access")

LIFETIME = 60
"""Seconds within which a ticket can be used."""


class TicketOut(BaseModel):
    """A sign-in ticket, shown only in this answer."""

    path: str = Field(description="path to open in a browser, after the server's address", examples=["/sign-in#ticket=..."])
    seconds: int = Field(description="seconds within which it can be used, once")


@router.post("/tickets", operation_id="createTicket", summary="Sign in a browser", status_code=201, responses=documented(403))
async def create_ticket(viewer: Caller, context: Shared, response: Response) -> TicketOut:
    """Makes a single-use address that signs a browser in as you, for the pages alone. The ticket is in the fragment, which browsers do not
    send."""
    ticket = secrets.token_urlsafe(32)
    await context.database.run(repository.add_ticket, ticket, viewer.key_id, lifetime=LIFETIME)
    response.headers["Cache-Control"] = "no-store"
    return TicketOut(path=f"/sign-in#ticket={ticket}", seconds=LIFETIME)
