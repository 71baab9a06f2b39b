"""Client of one OpenAI-compatible endpoint: requests one token with its likeliest alternatives, retries, and counts requests and tokens.

A rate limit pauses all requests together. Temporary errors are retried with growing waits; permanent errors raise a fault. The module does not
compute scores. It reads the key from an environment variable and never writes it into a message.
"""

import email.utils
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx2

from terms.judging import JudgeSpec
from terms.values import Json
from workers.job import JobFault, TransientFault
from workers.judges.prompts import Message
from workers.judges.reaching import Reach

TRIES = 6
BACKOFF = 0.5
LONGEST_HOLD = 60.0
"""The longest time in seconds that requests wait for a rate limit; beyond this the job returns to the queue and frees its worker."""
MOST_BYTES = 1 << 20
TOP = 20


class RequestRefused(Exception):
    """This request cannot be served (too long, filtered), but others may be."""


class Pace:
    """Decides when the next request may start: evenly spaced under a limit per minute, and later if `hold` was called."""

    def __init__(self, per_minute: int | None) -> None:
        self._lock = threading.Lock()
        self._step = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    def wait(self, closed: threading.Event) -> None:
        """Waits until the caller may send its request. Raises TransientFault when the judge is closed meanwhile."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._step
                    return
                left = self._next - now
            if closed.wait(left):
                raise TransientFault("the judge was closed")

    def hold(self, seconds: float) -> None:
        """Lets no request start for this many seconds."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Endpoint:
    """Sends requests to one judge's endpoint; safe to use from many threads. `described` is the judge's entry in a job's spec."""

    def __init__(self, described: JudgeSpec, *, backoff: float = BACKOFF) -> None:
        """Raises JobFault judge_key_missing when the key's environment variable is not set, judge_key_invalid,
        judge_bad_proxy."""
        options = described["options"]
        self.name, self.model = str(described["name"]), str(described["model"])
        self.concurrency = options.get("concurrency", 8)
        self.counts: Counter[str] = Counter()
        self._extra = dict(options.get("extra") or {})
        self._limit = options.get("token_limit_field", "max_tokens")
        self._timeout = float(options.get("timeout_seconds", 60))
        self._backoff = backoff
        self._pace = Pace(options.get("requests_per_minute"))
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = threading.Event()
        self._reach = Reach(
            self.name,
            f"{str(described['url']).rstrip('/')}/chat/completions",
            options.get("private_hosts"),
            headers=self._headers(described.get("key_env")),
            timeout=self._timeout,
            connections=self.concurrency,
        )

    def ask(self, messages: list[Message]) -> Json:
        """Returns the body of the reply. Raises RequestRefused, TransientFault when the endpoint does not answer, JobFault judge_unusable when
        it accepts no requests at all."""
        payload: dict[str, Json] = {
            **self._extra,
            "model": self.model,
            "messages": messages,
            "temperature": 0,
            self._limit: 1,
            "logprobs": True,
            "top_logprobs": TOP,
        }
        why = ""
        for attempt in range(TRIES):
            if attempt:
                self._count(retries=1)
                if self._closed.wait(self._backoff * 2 ** (attempt - 1)):
                    break
            self._pace.wait(self._closed)
            body, why = self._once(payload)
            if not why:
                self._count_tokens(body)
                return body
        raise TransientFault(f"the judge {self.name} did not answer in {TRIES} tries: {why}")

    def close(self) -> None:
        """Ends waiting requests at once with TransientFault. Running requests finish; the last of them closes the connections."""
        with self._lock:
            self._closed.set()
            idle = not self._under_way
        if idle:
            self._reach.close()

    def _once(self, payload: Mapping[str, Json]) -> tuple[Json, str]:
        """Sends one request. Returns the body and "", or None and the reason to try again."""
        self._count(requests=1)
        try:
            status, headers, data = self._post(payload)
        except (httpx2.RequestError, OSError) as error:
            return None, type(error).__name__
        if status == 200:
            try:
                return json.loads(data), ""
            except (ValueError, RecursionError):
                return None, "its answer is not valid JSON"
        if status == 429 or status in (408, 425) or status >= 500:
            self._hold(headers.get("Retry-After"), status)
            return None, f"HTTP {status}"
        if status in (400, 413, 422):
            raise RequestRefused(f"HTTP {status}")
        raise JobFault(
            "judge_unusable",
            f"The judge {self.name} answers HTTP {status}: {_meaning(status)}. Tell an "
            "administrator, or name another judge; the generated texts are kept and can be scored again.",
        )

    def _post(self, payload: Mapping[str, Json]) -> tuple[int, Mapping[str, str], bytes]:
        """Returns status, headers and at most MOST_BYTES of body, all within the timeout even if the body arrives slowly."""
        with self._lock:
            if self._closed.is_set():
                raise TransientFault(f"the judge {self.name} was closed")
            self._under_way += 1
        try:
            return self._stream(payload)
        finally:
            with self._lock:
                self._under_way -= 1
                last = self._closed.is_set() and not self._under_way
            if last:
                self._reach.close()

    def _stream(self, payload: Mapping[str, Json]) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + self._timeout
        data = b""
        with self._reach.post(payload) as response:
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > MOST_BYTES:
                    raise httpx2.ReadError("the reply is larger than 1 MiB")
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout("the reply took too long")
            return response.status_code, response.headers, data

    def _hold(self, retry_after: str | None, status: int) -> None:
        seconds = _seconds(retry_after)
        if seconds is not None and seconds > LONGEST_HOLD:
            raise TransientFault(f"the judge {self.name} answers HTTP {status} and asks to wait {seconds:.0f} seconds")
        if seconds is not None:
            self._pace.hold(seconds)

    def _headers(self, key_env: str | None) -> dict[str, str]:
        if key_env is None:
            return {}
        key = os.environ.get(key_env, "").strip()
        if not key:
            raise JobFault(
                "judge_key_missing",
                f"The judge {self.name} takes its key from the variable {key_env}, which is not set where this worker runs. An administrator "
                "sets it there and restarts the worker; the generated texts are kept.",
            )
        if not (key.isascii() and key.isprintable()):
            raise JobFault(
                "judge_key_invalid",
                f"The key of the judge {self.name} in the variable {key_env} holds characters that no HTTP header can carry. An administrator "
                "sets it again there and restarts the worker; the generated texts are kept.",
            )
        return {"Authorization": f"Bearer {key}"}

    def _count_tokens(self, body: Json) -> None:
        usage = body.get("usage") if isinstance(body, Mapping) else None
        for name in ("prompt_tokens", "completion_tokens"):
            value = usage.get(name) if isinstance(usage, Mapping) else None
            if isinstance(value, int) and value >= 0:
                self._count(**{name: value})

    def _count(self, **more: int) -> None:
        with self._lock:
            self.counts.update(more)


_MEANINGS = {
    401: "it rejects the key",
    403: "the key may not use it",
    404: "it does not serve this address or this model",
}


def _meaning(status: int) -> str:
    if 300 <= status < 400:
        return "it redirects, and redirects are not followed; add the judge with the address it leads to"
    return _MEANINGS.get(status, "it does not serve chat completions there")


def _seconds(retry_after: str | None) -> float | None:
    """The wait that a Retry-After header asks for, in seconds or as a date; None when it is missing or invalid."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
