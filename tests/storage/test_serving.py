"""Serving a stored object over HTTP from both kinds of storage: ETags and ranges of RFC 9110, redirects to a bucket, and faults."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from app.http import problems
from app.storage.base import Storage, StorageUnavailable
from app.storage.disposition import attachment
from app.storage.serving import serve_object
from tests.storage.references import Meddling

DATA = bytes(range(256)) * 4
DIGEST = hashlib.sha256(DATA).hexdigest()
ETAG = f'"sha256-{DIGEST}"'


def application(storage: Storage, data: bytes = DATA, filename: str = "calibration.json") -> FastAPI:
    """An application with one route, /file, that serves the object with these bytes."""
    digest = hashlib.sha256(data).hexdigest()

    async def download(request: Request) -> Response:
        return await serve_object(request, storage, digest, len(data), media_type="application/json", filename=filename)

    app = FastAPI()
    app.add_api_route("/file", download, methods=["GET", "HEAD"])
    problems.install(app)
    return app


def fetch(
    app: FastAPI, method: str = "GET", *, query: str = "?proxy=1", headers: dict[str, str] | None = None
) -> httpx2.Response:
    """The answer to one request. `?proxy=1` makes the application send the bytes itself, also from a bucket."""

    async def run() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://lab", timeout=120) as client:
            return await client.request(method, f"/file{query}", headers=headers)

    return asyncio.run(run())


@pytest.fixture
def app(storage: Storage) -> FastAPI:
    storage.put(f"sha256/{DIGEST}", DATA)
    return application(storage)


def test_the_whole_object_is_served_with_digest_etag_and_cache_headers(app: FastAPI):
    response = fetch(app)
    assert (response.status_code, response.content) == (200, DATA)
    expected = {
        "etag": ETAG,
        "content-length": "1024",
        "content-type": "application/json",
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
        "content-disposition": 'attachment; filename="calibration.json"',
        "repr-digest": f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:",
    }
    assert {name: response.headers[name] for name in expected} == expected
    assert {"private", "immutable"} <= set(response.headers["cache-control"].split(", "))


def test_head_is_get_without_the_body(app: FastAPI):
    head, get = fetch(app, "HEAD"), fetch(app)
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(get.headers)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=1000-", 1000, 1024),
        ("bytes=1000-99999", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-5000", 0, 1024),
        ("Bytes = 5 - 6", 5, 7),
    ],
)
def test_one_range_is_served_as_asked(app: FastAPI, asked: str, start: int, end: int):
    response = fetch(app, headers={"Range": asked})
    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
    assert response.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_past_the_end_is_refused_with_the_size(app: FastAPI, asked: str):
    response = fetch(app, headers={"Range": asked})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert "1,024 bytes" in response.json()["detail"]
    assert response.headers["content-range"] == "bytes */1024"


@pytest.mark.parametrize(
    "asked",
    ["bytes=0-1,5-6", "bytes=9-3", "bytes=-", "bytes=a-b", "lines=1-2", "bytes", "bytes=1-2-3", "bytes=" + "9" * 5000 + "-"],
)
def test_a_malformed_range_is_ignored(app: FastAPI, asked: str):
    response = fetch(app, headers={"Range": asked})
    assert (response.status_code, response.content) == (200, DATA)


@pytest.mark.parametrize("condition", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_a_matching_etag_is_answered_with_304(app: FastAPI, condition: str):
    for method in ("GET", "HEAD"):
        response = fetch(app, method, query="", headers={"If-None-Match": condition, "Range": "bytes=0-1"})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == ETAG


def test_another_etag_is_answered_in_full(app: FastAPI):
    assert fetch(app, headers={"If-None-Match": '"sha256-other"'}).content == DATA


@pytest.mark.parametrize(
    ("condition", "status"), [(ETAG, 206), (f"W/{ETAG}", 200), ('"other"', 200), ("Sun, 22 Nov 2026 10:00:00 GMT", 200)]
)
def test_a_download_is_resumed_only_on_the_same_object(app: FastAPI, condition: str, status: int):
    response = fetch(app, query="", headers={"Range": "bytes=1000-", "If-Range": condition})
    assert (response.status_code, response.content) == (status, DATA[1000:] if status == 206 else DATA)


def test_an_empty_object_is_served_and_has_no_ranges(storage: Storage):
    storage.put("sha256/" + hashlib.sha256(b"").hexdigest(), b"")
    app = application(storage, b"")
    assert (fetch(app).status_code, fetch(app).content) == (200, b"")
    assert fetch(app, headers={"Range": "bytes=0-"}).status_code == 416


def test_a_download_from_a_bucket_is_redirected_to_a_signed_url(s3: Storage):
    s3.put(f"sha256/{DIGEST}", DATA)
    app = application(s3, filename="größe.json")
    response = fetch(app, query="")
    assert (response.status_code, response.content) == (307, b"")
    assert response.headers["cache-control"] == "no-store", "the URL is good for five minutes only"
    assert "X-Amz-Expires=300" in response.headers["location"]
    direct = httpx2.get(response.headers["location"], headers={"Range": "bytes=3-5"}, timeout=120)
    assert (direct.status_code, direct.content) == (206, DATA[3:6])
    assert direct.headers["content-disposition"] == "attachment; filename=\"gr__e.json\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.json"
    assert fetch(app, "HEAD", query="").status_code == 200, "the signature is for GET only"


def test_a_lost_object_is_an_error_and_not_an_empty_file(storage: Storage):
    response = fetch(application(storage))
    assert (response.status_code, response.json()["code"]) == (500, "artifact_lost")


class Silent(Meddling):
    """A store that stops answering after `pieces` pieces."""

    pieces = 0

    async def astream(self, key: str, start: int, end: int) -> AsyncGenerator[bytes, None]:
        for n in range(self.pieces):
            yield DATA[n : n + 1]
        raise StorageUnavailable("no answer")


def test_a_store_that_does_not_answer_is_a_503_before_any_byte(local: Storage):
    response = fetch(application(Silent(local)))
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert response.headers["retry-after"] == "5"


def test_a_store_that_fails_midway_breaks_the_connection(local: Storage):
    class Breaking(Silent):
        pieces = 3

    with pytest.raises(RuntimeError, match="response already started"):  # the server then cuts the connection
        fetch(application(Breaking(local)))


async def sent_pieces(app: FastAPI, *, pieces: int) -> AsyncIterator[bytes]:
    """Calls the application directly, yields `pieces` pieces of the body, and disconnects."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=1)
    disconnected = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await disconnected.wait()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/file", "query_string": b"proxy=1", "headers": [], "http_version": "1.1"}
    task = asyncio.create_task(app(scope, receive, queue.put))
    assert (await queue.get())["status"] == 200
    for _ in range(pieces):
        yield (await queue.get())["body"]
    disconnected.set()
    await asyncio.wait_for(task, 5)


def open_files(folder: Path) -> list[str]:
    """The files in the folder that this process has open."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [target for target in links if target.startswith(str(folder))]


def test_a_big_object_is_sent_in_pieces_and_closed_when_the_client_leaves(local: Storage, tmp_path: Path):
    data = bytes(12_000_000)
    local.put("sha256/" + hashlib.sha256(data).hexdigest(), data)

    async def leave_early() -> list[int]:
        sizes = []
        async for piece in sent_pieces(application(local, data), pieces=3):
            sizes.append(len(piece))
            assert len(open_files(tmp_path)) == 1
        assert open_files(tmp_path) == []
        return sizes

    assert asyncio.run(leave_early()) == [1 << 20] * 3


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.json", 'attachment; filename="a.json"'),
        ("两.json", "attachment; filename=\"_.json\"; filename*=UTF-8''%E4%B8%A4.json"),
        ("50%.json", "attachment; filename=\"50%.json\"; filename*=UTF-8''50%25.json"),
        ('a"; x="b.json', 'attachment; filename="a_; x=_b.json"'),
        ("../../etc/passwd", 'attachment; filename=".._.._etc_passwd"'),
        ("a\r\nSet-Cookie: b", 'attachment; filename="a__Set-Cookie: b"'),
        ("gpj.\u202eexe\u009b\u2028", 'attachment; filename="gpj._exe__"'),
    ],
)
def test_no_file_name_breaks_out_of_the_header(name: str, header: str):
    assert attachment(name) == header
