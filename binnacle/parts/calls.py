"""Sends requests for all parts of the client: once, page by page, or repeated until exactly one job exists."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from binnacle.connection import Attempts, Connection
from binnacle.errors import ServiceError
from binnacle.results import Job, read

Body = dict[str, Any]
Result = TypeVar("Result")


class Calls:
    """Requests over one connection."""

    _connection: Connection

    def _get(self, kind: type[Result], path: str, params: Mapping[str, Any] | None = None) -> Result:
        return read(kind, self._connection.request("GET", path, params=params))

    def _send(self, kind: type[Result], method: str, path: str, json: Any = None, **how: Any) -> Result:
        return read(kind, self._connection.request(method, path, json=json, **how))

    def _post_once(self, path: str, *, json: Any = None, key: str | None = None, params: Mapping[str, Any] | None = None) -> Job:
        """Submits exactly one job, even if the request is sent several times: every attempt has the same idempotency key."""
        headers = {"Idempotency-Key": key or secrets.token_urlsafe(16)}
        attempts = Attempts(self._connection.patience)
        while True:
            try:
                return self._send(Job, "POST", path, json, headers=headers, params=params)
            except ServiceError as error:  # an earlier attempt of this call has not committed yet
                if error.code != "idempotency_key_busy" or not attempts.pause():
                    raise

    def _pages(self, kind: type[Result], path: str, filters: Mapping[str, Any], limit: int | None) -> Iterator[Result]:
        """Yields the items of a list, newest first, at most `limit`, fetched page by page."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = min(left, 100) if left is not None else None
            page = self._get(Body, path, {**filters, "cursor": cursor, "limit": size})
            yield from page["items"][:left]
            cursor = page.get("next_cursor")
            left = None if left is None else left - len(page["items"])
            if cursor is None:
                return
