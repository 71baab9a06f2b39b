"""Identifiers: a prefix that says what it names, then 26 sortable characters (48 bits of milliseconds, 80 random bits)."""

import re
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id(prefix: str) -> str:
    """`job_01jd...`: later ids sort after earlier ones, to the millisecond."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(digits))}"


def id_pattern(prefix: str) -> str:
    """The regular expression of an identifier, for path parameters: whatever does not match never reaches the database."""
    return rf"^{re.escape(prefix)}_[{_ALPHABET}]{{26}}$"
