"""Sends a stored object as an HTTP response, with ETags, byte ranges and redirects to a bucket. Independent of jobs, owners and rights."""

import base64
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from app.errors import Problem
from app.etags import names_etag
from app.storage.base import ObjectCorrupt, ObjectMissing, Storage, StorageError, key_of
from app.storage.disposition import attachment

PRESIGNED_SECONDS = 300
"""Seconds for which a signed address in the bucket is valid."""
RECHECK = 2.0
"""Seconds between checks whether a download may continue."""
AccessCheck = Callable[[], Awaitable[None]]
"""Raises if the download may not continue."""
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


async def serve_object(
    request: Request,
    storage: Storage,
    digest: str,
    size: int,
    media_type: str,
    filename: str,
    *,
    check_access: AccessCheck | None = None,
) -> Response:
    """Returns the object as a download, for GET and HEAD: 200, 206 or 304, or 307 to the bucket unless the query has `proxy=1`.

    `digest` is the object's SHA-256 in hexadecimal, `size` its bytes. A malformed Range, or several ranges, are ignored, as RFC 9110 allows.
    Memory is bounded by the store's piece size. `check_access` is called before the next piece once `RECHECK` seconds have passed; an exception
    from it cuts the connection. Raises Problem: 416 `range_not_satisfiable`, 503 `storage_unavailable`, 500 `artifact_lost`.
    """
    etag = f'"sha256-{digest}"'
    headers = _headers(digest, etag, media_type, filename)
    if names_etag(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={name: headers[name] for name in ("ETag", "Cache-Control")})
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(size)})
    wanted = _wanted_range(request, etag, size)
    if wanted is not None and wanted[0] >= wanted[1]:
        detail = f"The file has {size:,} bytes; Range asked for {request.headers['range']!r}, which lies outside the file."
        raise Problem(416, "range_not_satisfiable", detail, headers={"Content-Range": f"bytes */{size}", "ETag": etag})
    key = key_of(digest)
    # The bucket uses another ETag than ours, so requests that depend on our ETag are answered here.
    if request.query_params.get("proxy") != "1" and "if-range" not in request.headers:
        location = storage.presign(key, filename, media_type, PRESIGNED_SECONDS)
        if location is not None:
            return RedirectResponse(location, status_code=307, headers={"Cache-Control": "no-store"})
    start, end = wanted or (0, size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    body = await _opened(storage, key, start, end, check_access)
    return StreamingResponse(body, status_code=206 if wanted else 200, headers=headers)


def _headers(digest: str, etag: str, media_type: str, filename: str) -> dict[str, str]:
    return {
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, immutable, max-age=31536000",
        "Content-Disposition": attachment(filename),
        "Content-Type": media_type,
        "X-Content-Type-Options": "nosniff",
    }


def _wanted_range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Returns the range as (first byte, byte after the last); an empty range if none of it exists; None for the whole object."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match is None or match.groups() == ("", "") or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None  # RFC 9110, 14.1.1: such a range is invalid, not unsatisfiable
    return int(first), min(int(last) + 1, size) if last else size


async def _opened(storage: Storage, key: str, start: int, end: int, check_access: AccessCheck | None) -> AsyncIterator[bytes]:
    """Returns the stream after reading its first piece, so that a failing store gives an error response and not a truncated 200."""
    if start == end:
        return _chain(b"", None, None)
    pieces = storage.astream(key, start, end)
    try:
        return _chain(await anext(pieces), pieces, check_access)
    except (ObjectMissing, ObjectCorrupt) as error:
        raise Problem(
            500,
            "artifact_lost",
            f"The storage has lost {key}. An operator can restore it from a backup; otherwise run the job again.",
        ) from error
    except StorageError as error:
        detail = "The file is safe, but the storage does not answer now. Try again in a few seconds."
        raise Problem(503, "storage_unavailable", detail, headers={"Retry-After": "5"}) from error


async def _chain(
    first: bytes, rest: AsyncGenerator[bytes, None] | None, check_access: AccessCheck | None
) -> AsyncIterator[bytes]:
    """Yields `first` and then `rest`, with a check of access at most every `RECHECK` seconds."""
    checked_at = time.monotonic()
    yield first
    if rest is not None:
        async with aclosing(rest):  # closes the file also when the client disconnects
            async for piece in rest:
                if check_access is not None and time.monotonic() - checked_at >= RECHECK:
                    await check_access()
                    checked_at = time.monotonic()
                yield piece
