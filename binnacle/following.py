"""Follows a job to its end, by long polls or by its stream of events. Both continue after the service restarts."""

import math
import time
from collections.abc import Callable, Iterator
from typing import cast

import httpx2

from binnacle.connection import Attempts, Connection, retry_after
from binnacle.errors import ServiceError, WaitTimeout
from binnacle.results import Event, Job, read
from binnacle.served import quoted

FINISHED = frozenset({"succeeded", "failed", "cancelled"})
LONG_POLL = 25.0
OUTAGE = 300.0
"""Seconds for which the service may be unreachable before the client gives up following a job."""
GRACE = 15.0
SLACK = 5.0
"""Seconds that a request may take beyond the time for which the service holds it; the smaller number where
the caller's own time ends with it."""


def wait_until_over(
    connection: Connection, job_id: str, *, timeout: float | None, on_change: Callable[[Job], None] | None
) -> Job:
    """Waits for a job and returns it once it has ended; `on_change(job)` is called for every observed change of state, phase, progress or
    position.

    Raises WaitTimeout if the job has not ended after `timeout` seconds; Unreachable if the service cannot be reached for five minutes, or until
    `timeout` has passed.
    """
    until = math.inf if timeout is None else time.monotonic() + timeout
    job: Job | None = None
    etag: str | None = None
    while True:
        left = until - time.monotonic()
        if left <= 0 and job is not None:
            raise WaitTimeout(job_id, timeout or 0, job)
        # with `on_change`, the first read returns immediately
        hold = round(max(0.0, min(LONG_POLL, left)), 3) if job is not None or on_change is None else 0
        asked = time.monotonic()
        response = connection.request(
            "GET",
            f"/v1/jobs/{quoted(job_id)}",
            params={"wait": hold, **({} if on_change else {"until": "end"})} if hold else None,
            headers={"If-None-Match": etag} if etag else None,
            timeout=hold + min(GRACE, max(SLACK, left - hold)),
            patience=Attempts(OUTAGE, until=until),
        )
        if response.status_code != 304:
            job = read(Job, response)
            etag = response.headers.get("ETag")
            if on_change:
                on_change(job)
            if job["state"] in FINISHED:
                return job
        if response.status_code == 304 and time.monotonic() - asked < min(1.0, hold):
            time.sleep(min(retry_after(response) or 1.0, max(0.0, left)))  # pause for a server that does not hold requests


def events(connection: Connection, job_id: str, *, after: int = 0) -> Iterator[Event]:
    """Yields the events of a job numbered past `after`, each once and in order, until the job has ended: `{"seq", "at", "type", "data"}`.

    Raises Unreachable if the service cannot be reached for five minutes; ServiceError if it refuses, or cannot answer for five minutes.
    """
    path = f"/v1/jobs/{quoted(job_id)}/events"
    attempts = Attempts(OUTAGE)
    while True:
        try:
            with connection.event_stream(path, headers={"Last-Event-ID": str(after)}, timeout=LONG_POLL + 35) as source:
                attempts = Attempts(OUTAGE)  # the service is there, also where a quiet job sends no event
                for message in source:
                    event = _event(message)
                    if event and event["seq"] > after:
                        after = event["seq"]
                        yield event
        except httpx2.RequestError as error:
            if not attempts.pause():
                raise connection.unreachable(error) from error
            continue
        except ServiceError as error:
            if error.status < 500 or not attempts.pause():
                raise
            continue
        if connection.request("GET", f"/v1/jobs/{quoted(job_id)}", patience=OUTAGE).json()["state"] in FINISHED:
            yield from _remaining(connection, path, after)
            return


def _remaining(connection: Connection, path: str, after: int) -> Iterator[Event]:
    """Yields the events between the end of the stream and the end of the job."""
    while True:
        page = connection.request("GET", path, params={"after": after}, headers={"Accept": "application/json"}).json()["items"]
        if not page:
            return
        yield from page
        after = page[-1]["seq"]


def _event(message: httpx2.ServerSentEvent) -> Event | None:
    if not message.data:
        return None
    body = message.json()
    return cast(Event, body) if isinstance(body, dict) and "seq" in body else None
