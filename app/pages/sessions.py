"""Creates and reads the session cookie of a signed-in browser: stateless, signed, and bound to one key.

The cookie contains the key's id and its own expiry. Every request checks the key itself (`Keyring.current`), so a session ends with its key
and never has more rights. On a server without keys, the cookie is signed with the secret of this start and expires with it. Only the pages
accept it: `/v1` accepts only keys, so no other site's page can use a browser's session against the API.
"""

import hashlib
import hmac
import secrets
import time

from fastapi import Request, Response

from app.auth.viewer import Viewer
from app.http.access import LOCAL
from app.http.context import context_of
from app.settings import Settings

COOKIE = "binnacle_session"
LIFETIME = 12 * 3600
WITHOUT_KEY = "local"
_OWN = secrets.token_hex(32)
"""Signs cookies when the settings contain no secret (on a unix socket); valid only in this process."""


def made(settings: Settings, key_id: str) -> str:
    """Returns the cookie's value for a session that begins now."""
    body = f"{key_id or WITHOUT_KEY}.{int(time.time()) + LIFETIME}.{secrets.token_hex(8)}"
    return f"{body}.{_sign(settings, 'session', body)}"


async def viewer_of(request: Request) -> Viewer | None:
    """Returns the signed-in user with the key's current rights; None without a session, or after the session or its key has expired."""
    context = context_of(request)
    key_id = _key_id(context.settings, request.cookies.get(COOKIE, ""))
    if key_id is None:
        return None
    if context.settings.auth == "off":
        return LOCAL if key_id == WITHOUT_KEY else None
    if key_id == WITHOUT_KEY:
        return None
    return await context.keyring.current(Viewer(owner="", role="viewer", key_id=key_id))


def csrf_token(request: Request) -> str:
    """Returns the token that every change in this session must send; derived from the cookie, so other pages cannot know it."""
    return _sign(context_of(request).settings, "csrf", request.cookies.get(COOKIE, ""))


def begin(request: Request, response: Response, key_id: str) -> None:
    """Signs the browser in."""
    settings = context_of(request).settings
    response.set_cookie(
        COOKIE, made(settings, key_id), max_age=LIFETIME, path="/", httponly=True, samesite="lax", secure=_behind_tls(request)
    )


def end(request: Request, response: Response) -> None:
    """Signs the browser out."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax", secure=_behind_tls(request))


def _key_id(settings: Settings, cookie: str) -> str | None:
    body, _, signature = cookie.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _sign(settings, "session", body).encode()):
        return None
    key_id, until, _ = body.split(".")
    return key_id if int(until) > time.time() else None


def _sign(settings: Settings, purpose: str, text: str) -> str:
    secret = settings.key_pepper if settings.auth == "on" else settings.local_secret
    key = hashlib.sha256(f"{purpose}:{secret.get_secret_value() or _OWN}".encode()).digest()
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _behind_tls(request: Request) -> bool:
    """Returns whether the browser uses https, directly or to a proxy. A forged header only loses its sender the cookie over plain http."""
    given = request.headers.get("x-forwarded-proto", request.url.scheme)
    return given == "https" or context_of(request).settings.public_url.startswith("https:")
