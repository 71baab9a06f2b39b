"""Signing in with a key, the secret of a server without keys, or a ticket of `binnacle open`; signing out; style sheets and scripts."""

from typing import Annotated

from fastapi import Query, Request, Response
from fastapi.responses import RedirectResponse

from app.auth import keyless
from app.http.context import Context, Shared
from app.pages import assets, repository, sessions
from app.pages.doors import open_to_all, page_router
from app.pages.rendering import HEADERS, page

router = page_router()

Onward = Annotated[str, Query(alias="next", max_length=2_000)]
REFUSED = "This key is not valid. It may be mistyped, expired or revoked. An administrator makes new keys."
REFUSED_SECRET = (
    "This is not the secret of this start. The server printed the secret when it started; `binnacle open` finds it automatically."
)
USED = "This sign-in address was already used or is older than 60 seconds. Run `binnacle open` again."


@router.get("/sign-in")
@open_to_all
async def sign_in_page(request: Request, onward: Onward = "/") -> Response:
    """Shows the sign-in form. The page's script sends a ticket from the address's fragment."""
    return page(request, "sign_in.jinja", next=_inside(onward), wrong=None)


@router.post("/sign-in")
@open_to_all
async def sign_in(request: Request, context: Shared) -> Response:
    """Signs the browser in and redirects to the requested page."""
    form = await request.form()
    key, ticket, onward = (str(form.get(name, "")).strip() for name in ("key", "ticket", "next"))
    key_id = await (_of_ticket(context, ticket) if ticket else _of_key(request, context, key))
    if key_id is None:
        wrong = USED if ticket else REFUSED if context.settings.auth == "on" else REFUSED_SECRET
        return page(request, "sign_in.jinja", 401, next=_inside(onward), wrong=wrong)
    response = RedirectResponse(_inside(onward), 303, headers=HEADERS)
    sessions.begin(request, response, key_id)
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Ends this browser's session. The key stays valid."""
    response = RedirectResponse("/sign-in", 303, headers=HEADERS)
    sessions.end(request, response)
    return response


@router.get("/assets/{digest}/{name}")
@open_to_all
async def asset(digest: str, name: str) -> Response:
    """Returns a style sheet or a script."""
    return assets.answer(digest, name)


async def _of_key(request: Request, context: Context, key: str) -> str | None:
    if context.settings.auth == "off":
        return "" if keyless.admits(request, key, context.settings.local_secret.get_secret_value()) else None
    viewer = await context.keyring.holder(key)
    return None if viewer is None else viewer.key_id


async def _of_ticket(context: Context, ticket: str) -> str | None:
    """Returns the key id of a valid ticket, else None. A ticket is valid only under the setting (keys on or off) that it was made under."""
    key_id = await context.database.run(repository.take_ticket, ticket[:200])
    return key_id if key_id is not None and (key_id == "") == (context.settings.auth == "off") else None


def _inside(address: str) -> str:
    """Returns the address if it is a path on this server, else the home page."""
    safe = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if safe and "\\" not in address else "/"
