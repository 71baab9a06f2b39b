"""`GET /client/`: a page that people read and that pip takes for `--find-links`, and the wheel it links to. Both need no key."""

from html import escape

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from app.http.access import KeyedRoute, public
from app.http.context import Shared
from app.offering.wheel import FILENAME, wheel
from app.storage.disposition import attachment
from binnacle.version import DISTRIBUTION, VERSION

router = APIRouter(prefix="/client", route_class=KeyedRoute, include_in_schema=False)
HEADERS = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cache-Control": "no-cache"}
PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Binnacle's client</title></head>
<body>
<h1>Binnacle {version}: the client</h1>
<p>The Python client and the <code>binnacle</code> command for this server. Python 3.11 or newer; no torch.</p>
<pre>pip install {base}client/{file}</pre>
<p>Keep your key in a file, because a command line stays in the shell's history. After this line paste the key, then press Enter and Ctrl-D:</p>
<pre>(umask 077 &amp;&amp; cat &gt; ~/.binnacle-key)</pre>
<p>Then, in each terminal:</p>
<pre>export BINNACLE_URL={address} BINNACLE_KEY=$(cat ~/.binnacle-key)
binnacle whoami</pre>
<p><a href="{file}#sha256={digest}">{file}</a></p>
<p>Or by name: <code>pip install --find-links {base}client/ {distribution}</code></p>
</body>
</html>
"""


@router.get("/")
@public
async def page(request: Request, context: Shared) -> HTMLResponse:
    """Returns the page that says how to install the client that fits this server."""
    offered = await run_in_threadpool(wheel)
    # Behind a proxy with TLS the request says http; a key must not be sent to that address.
    base = escape(f"{context.settings.public_url.rstrip('/')}/" if context.settings.public_url else str(request.base_url))
    text = PAGE.format(
        version=VERSION,
        base=base,
        address=base.rstrip("/"),
        file=FILENAME,
        digest=offered.digest,
        distribution=DISTRIBUTION,
    )
    return HTMLResponse(text, headers=HEADERS)


@router.get(f"/{FILENAME}", response_class=Response)
@public
async def file() -> Response:
    """Returns the wheel of the client."""
    offered = await run_in_threadpool(wheel)
    headers = {"Content-Disposition": attachment(FILENAME), "ETag": f'"{offered.digest}"', "Cache-Control": "no-cache"}
    return Response(offered.data, media_type="application/zip", headers=headers)
