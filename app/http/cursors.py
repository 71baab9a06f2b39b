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
    """Creates and reads cursors `(time, id)`, the position where a page ended."""

    def __init__(self, secret: str) -> None:
        self._secret = hashlib.sha256(b"cursor:" + secret.encode()).digest()

    def make(self, scope: str, at: datetime, identifier: str) -> str:
        """Returns a cursor for the page after this entry of the list `scope` (its name and filters)."""
        body = json.dumps([at.isoformat(), identifier]).encode()
        return base64.urlsafe_b64encode(self._sign(scope, body) + body).decode().rstrip("=")

    def read(self, scope: str, cursor: str) -> TimeAndId:
        """Returns the cursor's time and id. Raises Problem 422 for a cursor that this server did not make for this list."""
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        signature, body = raw[:SIGNATURE], raw[SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(scope, body)):
            detail = "This cursor does not belong to this list with these filters. Start again without a cursor."
            errors = [{"pointer": "", "parameter": "query.cursor", "detail": detail, "code": "invalid_cursor"}]
            raise Problem(422, "invalid_cursor", detail, errors=errors)
        at, identifier = json.loads(body)
        return datetime.fromisoformat(at), identifier

    def _sign(self, scope: str, body: bytes) -> bytes:
        return hmac.digest(self._secret, hashlib.sha256(scope.encode()).digest() + body, "sha256")[:SIGNATURE]
