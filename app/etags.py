"""Entity tags (RFC 9110, 8.8.3): the tag of a body, and whether a caller has that body already."""

import hashlib


def etag_of(body: bytes) -> str:
    """Returns an entity tag that identifies exactly these bytes."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def names_etag(condition: str | None, etag: str) -> bool:
    """Returns whether a request's If-None-Match names this entity tag; weak and strong tags compare alike here (RFC 9110, 13.1.2)."""
    if condition is None:
        return False
    return condition.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in condition.split(","))
