"""A local server that acts as the model hub: metadata of a revision, files behind a redirect to another host, ranges, and faults."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "lab/tiny"


class Hub:
    """One repository at one commit, with the files of a folder. Weights are on another host (the `cdn`), as on the real hub.

    `token`: the token that requests must have. `break_after`: bytes of a weight file after which the connection breaks, once. `slowly`:
    seconds between chunks of 1 MiB. `lie`: weights arrive with a changed last byte. `status`, `body`, `headers`: the answer of the hub to
    every request. `asked`: all requests so far.
    """

    def __init__(self, folder: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.extra: dict[str, bytes] = {}
        self.token: str | None = None
        self.break_after: int | None = None
        self.slowly = 0.0
        self.lie = False
        self.status: int | None = None
        self.body, self.headers = b"{}", dict[str, str]()
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._slow = threading.Event()
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler(place)) for place in ("hub", "cdn")]
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def close(self) -> None:
        self._slow.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def requests(self, place: str, method: str = "GET") -> list[dict[str, str]]:
        """The headers of the requests to `hub` or `cdn`, with the path as `Path`."""
        return [{**headers, "Path": path} for where, path, headers in self.asked if where == f"{place} {method}"]

    def metadata(self) -> dict[str, Any]:
        """The hub's description of the revision and its files."""
        siblings = []
        for name, data in {**self.files, **self.extra}.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            if name.endswith(".safetensors"):
                one["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(one)
        return {"_id": "1", "id": REPOSITORY, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings}

    def _handler(self, place: str) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(
                    (f"{place} {self.command}", self.path, {name.title(): value for name, value in self.headers.items()})
                )
                try:
                    hub.answer_cdn(self) if place == "cdn" else hub.answer_hub(self)
                except OSError:
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def answer_hub(self, request: BaseHTTPRequestHandler) -> None:
        if self.status is not None:
            self._send(request, self.status, self.body, self.headers)
        elif self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            self._send(request, 403, b'{"error": "gated"}', {"X-Error-Code": "GatedRepo"})
        elif request.path.startswith(f"/api/models/{REPOSITORY}/revision/{COMMIT}"):
            self._send(request, 200, json.dumps(self.metadata()).encode(), {"Content-Type": "application/json"})
        elif (found := re.fullmatch(rf"/{REPOSITORY}/resolve/{COMMIT}/([^?]+)", request.path)) and found[1] in self.files:
            name, data = found[1], self.files[found[1]]
            if name.endswith(".safetensors"):
                self._send(request, 302, b"", {"Location": f"{self.cdn}/{name}?signature=secret"})
            else:
                self._send(request, 200, data, {"ETag": f'"{git_hash(data)}"', "X-Repo-Commit": COMMIT})
        else:
            code = "RevisionNotFound" if request.path.startswith(f"/api/models/{REPOSITORY}/") else "RepoNotFound"
            self._send(request, 404, b"{}", {"X-Error-Code": code})

    def answer_cdn(self, request: BaseHTTPRequestHandler) -> None:
        data = self.files[request.path[1:].partition("?")[0]]
        if self.lie:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = int((request.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        if self.break_after is not None:
            request.wfile.write(data[start : start + self.break_after])
            self.break_after = None
            request.close_connection = True
            request.connection.close()
            return
        for place in range(start, len(data), 1 << 20):
            request.wfile.write(data[place : place + (1 << 20)])
            self._slow.wait(self.slowly)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


def git_hash(data: bytes) -> str:
    """The id that git gives to a file with this content."""
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()
