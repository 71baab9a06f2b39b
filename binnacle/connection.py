"""An HTTP connection to the service: sends the key, raises errors as exceptions, and retries requests that are safe to repeat.

Handles requests and responses; independent of jobs.
"""

import math
import os
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import httpx2

from binnacle.address import Address
from binnacle.errors import NoService, ServiceError, Unreachable
from binnacle.sendable import check_printable, check_text, json_bytes

PASSING = frozenset({502, 503, 504})
"""Statuses of a restarting service, or of a proxy in front of it."""
SILENCE = 3.0
"""Seconds without an answer after which `on_outage` is called."""
UNUSABLE = (ImportError, ValueError, httpx2.InvalidURL)
"""What the HTTP library raises for a proxy of another kind, or for text that is not an address."""


def _named() -> tuple[str, str]:
    """Returns the certificate file and folder that the environment names."""
    return os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", "")


@lru_cache
def _elsewhere(trust_env: bool, _file: str, _folder: str) -> ssl.SSLContext:
    """Returns the TLS settings of clients of a service without TLS, for redirects to a service with TLS; cached, because loading takes longer
    than a request.
    """
    return httpx2.create_ssl_context(trust_env=trust_env)


class _ThroughSocket(httpx2.BaseTransport):
    """Sends requests to the service through its unix socket, and those of redirects (to object storage) over the network."""

    def __init__(self, socket: str, trust: ssl.SSLContext) -> None:
        self._socket, self._network = httpx2.HTTPTransport(uds=socket), httpx2.HTTPTransport(verify=trust)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends the request through the socket if it is for the service, else over the network."""
        to_service = (request.url.scheme, request.url.host, request.url.port) == ("http", "localhost", None)
        return (self._socket if to_service else self._network).handle_request(request)

    def close(self) -> None:
        """Closes both transports."""
        self._socket.close()
        self._network.close()


class Connection:
    """A connection that waits up to `patience` seconds for a service that restarts."""

    def __init__(
        self,
        address: Address,
        *,
        patience: float = 60,
        timeout: float = 30,
        first: float | None = None,
        on_outage: Callable[[str], None] | None = None,
    ) -> None:
        """Opens a connection.

        first: seconds within which the service must be reached for the first time, if less than `patience`. on_outage: called with a
        sentence, once each time the service stops answering for longer than `SILENCE`.
        """
        self.address = address
        self.patience = patience
        self.timeout = timeout
        self._first = first
        self._on_outage = on_outage
        self._told = False
        key = _sendable(address.key or "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # SSL_CERT_FILE applies on loopback too
        trust = (
            httpx2.create_ssl_context() if address.url.startswith("https:") else _elsewhere(not address.is_loopback, *_named())
        )
        try:
            self._http = httpx2.Client(
                base_url="http://localhost" if address.socket else address.url,
                transport=_ThroughSocket(address.socket, trust) if address.socket else None,
                headers=headers,
                timeout=httpx2.Timeout(timeout, connect=min(5, first or 5)),
                verify=trust,
                trust_env=not address.is_loopback,  # a proxy cannot reach this machine's loopback
            )
        except UNUSABLE as error:
            raise _bad_proxy(trust) or error from None

    def close(self) -> None:
        """Closes the connection; later requests fail."""
        self._http.close()

    def request(  # noqa: PLR0913 - the parts of an HTTP request, each by name
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        files: Sequence[tuple[str, tuple[str, bytes]]] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        repeatable: bool = True,
        patience: "float | Attempts | None" = None,
    ) -> httpx2.Response:
        """Sends a request and returns a successful response or a 304. Raises ServiceError for a refusal, Unreachable if there was no answer.

        repeatable: the request may be sent again even if it may have arrived. Requests that did not reach the service are always repeated.
        """
        check_printable(path)
        query, sent = _given(params), dict(headers or {})
        body = None if json is None else json_bytes(json)
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        attempts = patience if isinstance(patience, Attempts) else Attempts(self.patience if patience is None else patience)
        if self._first is not None:
            attempts = Attempts(self._first, since=time.monotonic())
        while True:
            try:
                response = self._http.request(
                    method,
                    path,
                    params=query,
                    content=body,
                    data=form,
                    files=files,
                    headers=sent,
                    timeout=timeout or httpx2.USE_CLIENT_DEFAULT,
                    follow_redirects=method == "GET",  # redirects to object storage; the key is not sent there
                )
            except httpx2.RequestError as error:
                arrived = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
                if (arrived and not repeatable) or _untrusted(error) or not attempts.pause():
                    raise self.unreachable(error) from error
                self._tell(attempts, error)
                continue
            self._first, self._told = None, False
            passing = (response.status_code in PASSING and repeatable) or _waits_for_itself(response)
            if passing and attempts.pause(retry_after(response)):
                continue
            if response.is_success or response.status_code == 304:
                return response
            keyless = response.status_code == 401 and "Authorization" not in self._http.headers
            raise self._keyless() if keyless else refusal(response)

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str], timeout: float | None = None) -> Iterator[httpx2.Response]:
        """Sends a GET once and yields the response to read as a stream; follows redirects (to object storage) without the key."""
        check_printable(path)
        limits = httpx2.Timeout(timeout or self.timeout, connect=5)
        with self._http.stream("GET", path, headers=headers, follow_redirects=True, timeout=limits) as response:
            if not response.is_success:
                response.read()
                raise refusal(response)
            yield response

    @contextmanager
    def event_stream(self, path: str, *, headers: Mapping[str, str], timeout: float) -> Iterator[httpx2.EventSource]:
        """Opens a stream of server-sent events once."""
        check_printable(path)
        with self._http.sse(path, headers=headers, timeout=httpx2.Timeout(timeout, connect=5)) as source:
            if not source.response.is_success:
                source.response.read()
                raise refusal(source.response)
            yield source

    def _tell(self, attempts: "Attempts", error: Exception) -> None:
        """Calls `on_outage` when the service is being waited for."""
        if self._on_outage and self._first is None and not self._told and attempts.waited >= SILENCE:
            self._told = True
            self._on_outage(f"{self.address.url} does not answer ({error or type(error).__name__}); waiting for it")

    def unreachable(self, error: Exception) -> Unreachable:
        """Returns the error that tells a person why the service did not answer and what to do, made of the transport's error."""
        reason = str(error) or type(error).__name__
        if _untrusted(error):
            return Unreachable(
                "untrusted_certificate",
                f"The certificate of {self.address.url} cannot be verified ({reason}). If it is your own, or your own authority's, name "
                "its file in SSL_CERT_FILE.",
            )
        if "WRONG_VERSION_NUMBER" in reason:
            return Unreachable(
                "no_tls", f"{self.address.url} does not speak TLS. Write the address with http:// in place of https://."
            )
        if isinstance(error, httpx2.DecodingError):
            return Unreachable(
                "unreadable_answer",
                f"An answer of {self.address.url} cannot be decompressed ({reason}). A proxy on the way may have changed it.",
            )
        detail = f"Nothing answers at {self.address.url} ({reason}). {_what_to_do(self.address)}"
        return Unreachable("unreachable", detail)

    def _keyless(self) -> ServiceError:
        """Returns the 401 for a request without a key."""
        detail = f"{self.address.url} needs a key, and none was sent. Set BINNACLE_KEY to your key; an administrator makes keys."
        return ServiceError(401, {"code": "unauthenticated", "detail": detail})


class Attempts:
    """Pauses between attempts, growing from 0.1 to 3 seconds with jitter, until `patience` seconds after the first failure."""

    def __init__(self, patience: float, *, since: float | None = None, until: float = math.inf) -> None:
        """Starts counting. since: the monotonic time from which patience counts; by default the first failure. until: the monotonic time at
        which it ends at the latest.
        """
        self._patience = patience
        self._until = until
        self._count = 0
        self._first_failure = since

    @property
    def waited(self) -> float:
        """Returns the seconds since the first failure; 0 before it."""
        return 0.0 if self._first_failure is None else time.monotonic() - self._first_failure

    def pause(self, at_least: float = 0) -> bool:
        """Sleeps before the next attempt and returns True; returns False immediately when patience has run out."""
        now = time.monotonic()
        self._first_failure = now if self._first_failure is None else self._first_failure
        seconds = max(at_least, min(3.0, 0.1 * 2 ** min(self._count, 10)) * random.uniform(0.5, 1))
        if now + seconds > min(self._first_failure + self._patience, self._until):
            return False
        self._count += 1
        time.sleep(seconds)
        return True


def retry_after(response: httpx2.Response) -> float:
    """Returns the seconds in the service's Retry-After; 0 without it."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 0.0


def refusal(response: httpx2.Response) -> ServiceError:
    """Returns the error for a response with an error status."""
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"The service answered {response.status_code}: {response.text[:200]}"}
    return ServiceError(response.status_code, problem, response.headers.get("X-Request-Id"))


def _what_to_do(address: Address) -> str:
    """Returns what to do when the address does not answer."""
    if address.is_loopback or address.socket:
        return (
            "If it is the end of a tunnel (ssh -L), open the tunnel; if it is a server of your own, start it with `binnacle up`."
        )
    return "Check the address (BINNACLE_URL), or ask the server's administrator whether it runs."


def _sendable(key: str) -> str:
    """Returns the key without surrounding white space. Raises NoService for text that cannot be a key; the message never contains the key."""
    stripped = key.strip()
    if not (stripped.isascii() and stripped.isprintable() and " " not in stripped):
        detail = "The key (BINNACLE_KEY) holds spaces, line breaks or letters that no key has. Copy the whole key again: bnk_..."
        raise NoService("bad_key", detail)
    return stripped


def _bad_proxy(trust: ssl.SSLContext) -> NoService | None:
    """Returns the error for the first proxy of the environment that cannot be used; the message never contains its address, which may hold
    a password.
    """
    for variable in (name for name in os.environ if name.lower() in {"http_proxy", "https_proxy", "all_proxy"}):
        proxy = os.environ[variable]
        try:
            httpx2.HTTPTransport(verify=trust, proxy=proxy if "://" in proxy else f"http://{proxy}")
        except UNUSABLE:
            detail = (
                f"{variable} does not name a proxy that this client can use. Set it to the address of a proxy with http:// or https://, or "
                "unset it; socks5:// needs the package socksio (`pip install socksio`)."
            )
            return NoService("bad_proxy", detail)
    return None


def _waits_for_itself(response: httpx2.Response) -> bool:
    """Returns whether the request was refused, before any work, because of the user's other requests, which end by themselves."""
    return response.status_code == 429 and refusal(response).code == "too_many_at_once"


def _untrusted(error: Exception) -> bool:
    """Returns whether the connection failed because of the server's certificate, so that waiting does not help."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def _given(params: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns the parameters that are not None. Raises BinnacleError for text that is not valid Unicode."""
    given = {name: value for name, value in params.items() if value is not None} if params else None
    for name, value in (given or {}).items():
        if isinstance(value, str):
            check_text(value, name)
    return given
