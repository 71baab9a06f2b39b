"""Identifiers: a prefix for the kind of object, then 26 sortable characters (48 bits of milliseconds, 80 random bits)."""

import hashlib
import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id(prefix: str) -> str:
    """Returns a new identifier such as `job_01jd...`; later ids sort after earlier ones, to the millisecond."""
    return _written(prefix, (int(time.time() * 1000) << 80) | secrets.randbits(80))


def id_of(prefix: str, *parts: str) -> str:
    """Returns the identifier that these texts alone decide, for an object that must be made once; it does not sort by time."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return _written(prefix, int.from_bytes(digest[:16]))


def _written(prefix: str, number: int) -> str:
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(digits))}"


def id_pattern(prefix: str) -> str:
    """Returns the regular expression of an identifier, for path parameters: other values never reach the database."""
    return rf"^{re.escape(prefix)}_[{_ALPHABET}]{{26}}$"
