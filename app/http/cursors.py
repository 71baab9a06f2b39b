"""Cursors of lists: opaque, signed, and valid only for the list and filters that they were made for."""

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime

from app.errors import Problem
from app.moments import TimeAndId

SIGNATURE = 16
"""Bytes of the signature, which come before the body."""


class Cursors:
    """Creates and reads cursors: the sort key and the id of the entry where a page ended."""

    def __init__(self, secret: str) -> None:
        self._secret = hashlib.sha256(b"cursor:" + secret.encode()).digest()

    def make(self, scope: str, at: datetime, identifier: str) -> str:
        """Returns a cursor for the page after this entry of the list `scope` (its name and filters)."""
        return self.seal(scope, at.isoformat(), identifier)

    def read(self, scope: str, cursor: str) -> TimeAndId:
        """Returns the cursor's time and id. Raises Problem 422 for a cursor that this server did not make for this list."""
        at, identifier = self.open(scope, cursor)
        return datetime.fromisoformat(str(at)), identifier

    def seal(self, scope: str, key: str | float | None, identifier: str) -> str:
        """Returns a cursor as `make`, for a list that is sorted by another key than a time."""
        body = json.dumps([key, identifier]).encode()
        return base64.urlsafe_b64encode(self._sign(scope, body) + body).decode().rstrip("=")

    def open(self, scope: str, cursor: str) -> tuple[str | float | None, str]:
        """Returns the cursor's key and id. Raises Problem 422 as `read`."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        signature, body = raw[:SIGNATURE], raw[SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(scope, body)):
            detail = "This cursor does not belong to this list with these filters. Start again without a cursor."
            errors = [{"pointer": "", "parameter": "query.cursor", "detail": detail, "code": "invalid_cursor"}]
            raise Problem(422, "invalid_cursor", detail, errors=errors)
        key, identifier = json.loads(body)
        return key, identifier

    def _sign(self, scope: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, hashlib.sha256(scope.encode()).digest() + body, "sha256")[:SIGNATURE]
