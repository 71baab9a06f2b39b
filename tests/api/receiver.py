"""A real HTTP server that messages are sent to, which answers as a test tells it: with a status, late, with a redirect, or by hanging up."""

import hashlib
import hmac
import json
import ssl
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Message:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def signed_with(self, secret: str, *, now: float | None = None, tolerance: float = 300) -> bool:
        """Whether the signature is valid and recent, checked as docs/webhooks.md tells receivers and not with the sender's code."""
        parts = dict(part.split("=", 1) for part in self.headers["Binnacle-Signature"].split(","))
        expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + self.body, hashlib.sha256).hexdigest()
        fresh = abs((time.time() if now is None else now) - int(parts["t"])) <= tolerance
        return fresh and hmac.compare_digest(expected, parts["v1"])


class Receiver:
    """`answers` are used up one by one, then 200: a status, `("redirect", url)`, `("sleep", seconds)`, `("after", event)` or
    `"hang up"`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.messages: list[Message] = []
        self.answers: list[Any] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.messages.append(Message(self.path, dict(self.headers), body, time.monotonic()))
                receiver.answer(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/hook?room=1"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        planned = self.answers.pop(0) if self.answers else 200
        if planned == "hang up":
            request.connection.close()
            return
        if isinstance(planned, tuple) and planned[0] == "sleep":
            time.sleep(planned[1])
            planned = 200
        if isinstance(planned, tuple) and planned[0] == "after":
            planned[1].wait(60)
            planned = 200
        try:
            request.send_response(planned if isinstance(planned, int) else 302)
            if isinstance(planned, tuple):
                request.send_header("Location", planned[1])
            request.send_header("Content-Length", "2")
            request.end_headers()
            request.wfile.write(b"ok")
        except OSError:
            pass  # the sender did not wait

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
