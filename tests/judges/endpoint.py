"""A local HTTP server that acts as a chat-completions endpoint and can fail. It rates a text by the number after `worth`."""

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass
class Request:
    """One request as it arrived; `began` is its time in seconds of time.monotonic."""

    path: str
    headers: Mapping[str, str]
    body: Body
    began: float

    @property
    def text(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    @property
    def is_probe(self) -> bool:
        """Whether it is one of the requests by which a judge tries the endpoint at its start."""
        return self.text.startswith("Reply with ")


@dataclass
class Fault:
    """A reply that is not a completion. `status` 0 closes the connection; the reply is sent after `delay` seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


Behaviour = Callable[[Request, int], Body | Fault]
"""Takes a request and the number of earlier requests; returns the reply."""


def completion(top: Mapping[str, float], text: str | None = None, *, tokens: int = 100) -> Body:
    """A completion of one token, with these probabilities of the alternatives."""
    alternatives = [{"token": token, "logprob": math.log(p) if p else -9999.0} for token, p in top.items()]
    first = text if text is not None else max(top, key=lambda token: top[token])
    return {
        "choices": [
            {"message": {"role": "assistant", "content": first}, "logprobs": {"content": [{"top_logprobs": alternatives}]}}
        ],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 1},
    }


def rating(request: Request, *, splits: bool = False, letters: bool = True) -> Body:
    """The reply of a model that does what it is asked. `splits`: its tokens hold one digit each. `letters`: it can reply with letters."""
    probed = re.search(r"^Reply with the (number|letter) (\w+) ", request.text)
    if probed:
        word = probed[2] if probed[1] == "letter" or not splits else probed[2][0]
        return completion({word: 0.97} if probed[1] == "number" or letters else {"Sure": 0.9})
    if "Reply with A or B." in request.text:
        return completion({"A": 0.1, "B": 0.9} if "off topic here" in request.text else {"A": 0.9, "B": 0.1})
    worth = float(re.findall(r"worth (\d+)", request.text)[-1]) if "worth" in request.text else 50.0
    if "capital letter" in request.text:
        return completion({"ABCDEFGHIJK"[int(worth // 10)]: 0.9, "Z": 0.1})
    if splits:
        return completion({str(int(worth))[0]: 0.9})
    return completion({f" {int(worth)}": 0.6, str(min(100, int(worth) + 10)): 0.2, "the": 0.2})


class Endpoint:
    """The server: its `url`, the `requests` so far, and `together`, the most requests that were under way at once."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[Request] = []
        self.together = self._now = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def ratings(self) -> list[Request]:
        return [request for request in self.requests if not request.is_probe]

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.01)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, request: Request) -> Body | Fault:
        with self._lock:
            before = len(self.requests)
            self.requests.append(request)
            self._now += 1
            self.together = max(self.together, self._now)
        try:
            made = self.behaviour(request, before)
            if isinstance(made, Fault):
                time.sleep(made.delay)
            return made
        finally:
            with self._lock:
                self._now -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else every reply waits 40 ms for an acknowledgement
            wbufsize = 1 << 16

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                made = endpoint.reply(Request(self.path, dict(self.headers), body, time.monotonic()))
                fault = (
                    made
                    if isinstance(made, Fault)
                    else Fault(200, json.dumps(made).encode(), {"Content-Type": "application/json"})
                )
                if not fault.status:
                    self.close_connection = True
                    return
                try:
                    self.send_response(fault.status)
                    for name, value in {**fault.headers, "Content-Length": str(len(fault.body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(fault.body)
                except OSError:  # the client has closed the connection
                    self.close_connection = True

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Endpoint]:
    """Runs a server within the block."""
    endpoint = Endpoint(behaviour)
    thread = threading.Thread(target=endpoint.serve)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.stop()
        thread.join(5)
