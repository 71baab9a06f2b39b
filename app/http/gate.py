"""The outermost middleware: request id, refusals before routing, limit of the body, log line, latency.

Pure ASGI, so that streams pass through unbuffered and a waiting request costs nothing here. Does not parse bodies or know routes.
"""

import re
import time
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

import structlog
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem
from app.http.attended import Gone, attended
from app.http.problems import render, unexpected
from app.http.renamed import HEADER, deprecation, listening
from app.ids import new_id
from app.settings import LimitSettings

log = structlog.get_logger()

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
KEY = re.compile(rb"bnk_[0-9A-Za-z]{8}_[0-9A-Za-z]{8}|bnl_[0-9A-Za-z_-]{16}")
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
FORM = "multipart/form-data"
TAKEN = frozenset({"application/json", FORM})
"""Accepted types of bodies; forms are accepted only by routes marked for them (`app.http.access`)."""
HOST = re.compile(r"[!-?A-~]*", re.ASCII)
"""Visible ASCII without @: no valid Host header contains @, and international names are sent in ASCII form (RFC 9110, 7.2)."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
FORWARDED = re.compile(r"forwarded|x-forwarded-.*|x-real-ip|via")
"""Headers that reveal a proxy. nginx sets none by default: a request without them may still have come through a proxy."""
CLIENT_GONE = 499
"""Status in logs and metrics for a request when its client disconnected before the answer."""
Observe = Callable[[str, str, int, float], None]


class Gate:
    """The outermost middleware. Calls `observe(method, route, status, seconds)` for every answer."""

    def __init__(self, app: ASGIApp, *, limits: LimitSettings, auth: bool, observe: Observe) -> None:
        self.app = app
        self.limits = limits
        self.auth = auth
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = self._request_id(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        old_names = listening()
        started, status, made = time.perf_counter(), 0, ""

        async def answer(message: Message) -> None:
            nonlocal status, made
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = request_id
                out["X-Content-Type-Options"] = "nosniff"
                if old_names:
                    out[HEADER] = deprecation()
                made = out.get("location", "")
            await send(message)

        try:
            problem = self._refusal(scope, headers)
            if problem is not None:
                await render(Request(scope), problem)(scope, receive, answer)
            else:
                limited = self._limited(receive, body_limit(headers, self.limits))
                has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
                await attended(lambda heard, told: self.app(scope, heard, told), limited, answer, has_body=has_body)
        except (Gone, ClientDisconnect):  # the client is gone: no answer can reach it
            status = status or CLIENT_GONE
        except Exception as error:
            broken = unexpected(Request(scope), error)
            if status:  # part of an answer was sent: the server must cut the connection, or the answer would look complete
                raise
            await broken(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            self.observe(scope["method"], route, status, seconds)
            job = made.removeprefix("/v1/jobs/") if made.startswith("/v1/jobs/") else scope.get("path_params", {}).get("job_id")
            key = getattr(scope["state"].get("viewer"), "key_id", None)  # bound in another task's log context
            facts = {"job_id": job} | ({} if key is None else {"key_id": key})
            log.info("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 1), **facts)

    @staticmethod
    def _request_id(headers: Headers) -> str:
        """Returns the caller's request id if it is harmless in logs and headers, otherwise a new one."""
        given = headers.get("x-request-id", "")
        return given if REQUEST_ID.fullmatch(given) else new_id("req")

    def _refusal(self, scope: Scope, headers: Headers) -> Problem | None:
        """Returns the problem of a request that can be refused without its route and body, or None."""
        if (wrong := _malformed(scope, headers)) is not None:
            return Problem(400, "malformed_request", wrong)
        if KEY.search(scope["query_string"]) or KEY.search(scope.get("raw_path") or b""):
            detail = (
                "The address contains a key, and addresses are kept in histories and logs: have this key "
                "revoked. Send keys only in the header `Authorization: Bearer bnk_...`."
            )
            return Problem(400, "key_in_address", detail)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > body_limit(headers, self.limits):
            return self._too_large(int(length), body_limit(headers, self.limits))
        has_body = "transfer-encoding" in headers or length != "0"
        if has_body and headers.get("content-encoding", "identity").lower() != "identity":
            return Problem(
                415, "unsupported_encoding", "Compressed bodies are not accepted: send the body without Content-Encoding."
            )
        if scope["method"] in UNSAFE and has_body and media_type(headers) not in TAKEN:
            detail = "Send the body as Content-Type: application/json. Forms, such as files or a key, are sent as multipart/form-data (curl -F)."
            return Problem(415, "unsupported_media_type", detail)
        return None if self.auth else self._exposed(scope, headers)

    @staticmethod
    def _exposed(scope: Scope, headers: Headers) -> Problem | None:
        """Refuses, on a server without keys, requests from other machines and from web pages in a local browser (DNS rebinding, cross-site
        posts).

        `app.auth.keyless` checks the secret of this start, or that the request came over the unix socket.
        """
        server = scope.get("server") or ("", None)
        if server[1] is not None and server[0] not in LOOPBACK and not server[0].startswith("127."):
            return Problem(403, "auth_off", "This server runs without keys and answers only on the loopback address.")
        if any(FORWARDED.fullmatch(name) for name in headers):
            return Problem(
                403, "auth_off", "This server runs without keys and refuses requests that come through a proxy: switch keys on."
            )
        host = headers.get("host", "")
        if (urlsplit(f"//{host}").hostname or "") not in LOOPBACK:
            return Problem(
                403,
                "auth_off",
                "This server runs without keys and answers only requests for localhost; the Host header names another host.",
            )
        origin = headers.get("origin")
        if scope["method"] in UNSAFE and origin is not None and split_origin(origin).netloc != host:
            return Problem(403, "auth_off", "This server runs without keys and refuses requests from other sites' pages.")
        return None

    def _limited(self, receive: Receive, limit: int) -> Receive:
        """Returns `receive` that stops a body of unstated length once it exceeds the limit."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > limit:
                    raise HTTPException(413, self._too_large(taken, limit).detail)
            return message

        return limited

    @staticmethod
    def _too_large(size: int, limit: int) -> Problem:
        return Problem(
            413,
            "body_too_large",
            f"The body has {size:,} bytes or more; this server allows {limit:,}. Send fewer or shorter prompts, or smaller files.",
        )


def _malformed(scope: Scope, headers: Headers) -> str | None:
    """Returns what is wrong with the address or its host, which appear in answers, logs and links; None if both are valid."""
    if "\x00" in scope["path"] or b"%00" in scope.get("query_string", b""):
        return "The address holds a NUL character (%00). Remove it."
    host = headers.get("host", "")
    try:
        parts = urlsplit(f"//{host}")
        sound = parts.netloc == host and (parts.port or 1) > 0 and HOST.fullmatch(host) is not None
    except ValueError:
        sound = False
    return None if sound else "The Host header must be a host, with or without a port, as in binnacle.example.org:8000."


def body_limit(headers: Headers, limits: LimitSettings) -> int:
    """Returns the most bytes that a body of this type may have."""
    return limits.upload_bytes if media_type(headers) == FORM else limits.body_bytes


def split_origin(origin: str) -> SplitResult:
    """Returns the parts of an Origin header; no host for one that is malformed, for example a bracket that is not closed."""
    try:
        return urlsplit(origin)
    except ValueError:
        return urlsplit("")


def media_type(headers: Headers) -> str:
    """Returns the media type of the body as declared, without parameters, in lower case."""
    return headers.get("content-type", "").split(";")[0].strip().lower()
