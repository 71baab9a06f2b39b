"""Makes and verifies API keys. Knows nothing of HTTP.

A key reads `bnk_<id>_<secret><crc>`: 8 characters that find its row, 32 random ones (190 bits) that only the holder knows, and 6 that
are the CRC-32 of all before them, so that a mistyped key is refused before any work is done. The secret is random and long, so a plain
HMAC under the server's pepper is enough; a slow password hash would only slow every request down.
"""

import hmac
import os
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.audit import service as audit
from app.auth import repository
from app.auth.models import ApiKey
from app.auth.viewer import SCOPES, Role, Scope, Viewer
from app.settings import get_settings

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"bnk_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}", re.ASCII)
_FIRST_KEY_LOCK = 0x626E6B31
"""Advisory lock under which the first key is made, so that two starting servers make one."""
ITSELF = Viewer(owner="binnacle", role="admin")
"""The viewer of acts that the server does by itself."""


@dataclass(frozen=True)
class NewKey:
    """A key just made: `text` is shown once and never stored."""

    text: str
    row: ApiKey


def new_key(
    owner: str,
    role: str,
    pepper: str,
    *,
    scopes: Iterable[Scope] = SCOPES,
    label: str | None = None,
    lifetime: timedelta | None = None,
    now: datetime | None = None,
) -> NewKey:
    """A fresh key of `owner`; the caller adds `row` to its session. `lifetime` counts from `now`, and both are given or neither is."""
    identifier = _random(8)
    head = f"bnk_{identifier}_{_random(32)}"
    text = head + _checksum(head)
    row = ApiKey(
        id=identifier, owner=owner, role=role, scopes=sorted({"read", *scopes}), label=label, secret_hmac=_seal(text, pepper),
        expires_at=now + lifetime if now is not None and lifetime is not None else None,
    )  # fmt: skip
    return NewKey(text, row)


def well_formed(text: str) -> bool:
    """Whether `text` has a key's shape and checksum; says nothing about whether it was ever issued."""
    return _KEY.fullmatch(text) is not None and hmac.compare_digest(text[-6:], _checksum(text[:-6]))


def verify(session: Session, text: str, pepper: str) -> Viewer | None:
    """The viewer that this key stands for; None when it was never issued, has expired or was revoked, or its holder is disabled."""
    if not well_formed(text):
        return None
    row = repository.usable_key(session, text.split("_")[1])
    if not hmac.compare_digest(row.secret_hmac if row is not None else bytes(32), _seal(text, pepper)) or row is None:
        return None
    repository.note_use(session, row.id)
    return _viewer(session, row)


def holder_of(session: Session, key_id: str) -> Viewer | None:
    """The viewer that the key of this id stands for; None when the key is not valid any more. For keys that were verified before."""
    row = repository.usable_key(session, key_id)
    return None if row is None else _viewer(session, row)


def _viewer(session: Session, row: ApiKey) -> Viewer:
    return Viewer(
        owner=row.owner,
        role=cast(Role, row.role),
        key_id=row.id,
        scopes=frozenset(cast(list[Scope], row.scopes)),
        groups=frozenset(repository.groups_of(session, [row.owner])[row.owner]),
    )


def ensure_first_key(sessions: sessionmaker[Session], key_file: Path, *, pepper: str | None = None, owner: str = "admin") -> str:
    """The administrator's key in `key_file` (mode 0600), made when the file is missing or its key is not valid here any more."""
    pepper = get_settings().key_pepper.get_secret_value() if pepper is None else pepper
    with sessions.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(_FIRST_KEY_LOCK)))
        if key_file.exists():
            text = key_file.read_text().strip()
            if verify(session, text, pepper) is not None:
                return text
        repository.add_user(session, owner, ITSELF.owner)
        made = new_key(owner, "admin", pepper)
        session.add(made.row)
        session.flush()
        audit.record(session, ITSELF, "key.create", made.row.id, owner=owner, role="admin", why="the first key")
        _write_private(key_file, made.text)
    return made.text


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = []
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _seal(text: str, pepper: str) -> bytes:
    return hmac.digest(pepper.encode(), text.encode(), "sha256")


def _write_private(path: Path, text: str) -> None:
    """Replaces `path` in one step by a file that only its owner can read at every moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text + "\n")
    temporary.replace(path)
