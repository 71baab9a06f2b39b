"""Creates and verifies API keys. Independent of HTTP.

A key is `bnk_<id>_<secret><crc>`: 8 characters that identify its row, 32 random characters (190 bits) that only the holder knows, and 6
for the CRC-32 of everything before. The CRC-32 lets a mistyped key be refused without a query. The secret is random and long, so an HMAC
with the server's pepper is enough; a slow password hash would only slow down every request.
"""

import hmac
import os
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
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
"""Advisory lock for creating the first key, so that two servers that start together create only one."""
ITSELF = Viewer(owner="binnacle", role="admin")
"""The viewer for actions of the server itself."""


@dataclass(frozen=True)
class NewKey:
    """A new key: `text` is shown once and never stored."""

    text: str
    row: ApiKey


def new_key(
    owner: str,
    role: str,
    pepper: str,
    *,
    scopes: Iterable[Scope] = SCOPES,
    label: str | None = None,
    expires_at: datetime | None = None,
) -> NewKey:
    """Returns a new key of `owner`; the caller adds `row` to its session. `expires_at` None: it is valid until it is revoked."""
    identifier = _random(8)
    head = f"bnk_{identifier}_{_random(32)}"
    text = head + _checksum(head)
    row = ApiKey(
        id=identifier, owner=owner, role=role, scopes=sorted({"read", *scopes}), label=label, secret_hmac=_seal(text, pepper),
        expires_at=expires_at,
    )  # fmt: skip
    return NewKey(text, row)


def well_formed(text: str) -> bool:
    """Returns whether `text` has a key's shape and checksum, whether or not the key was ever issued."""
    return _KEY.fullmatch(text) is not None and hmac.compare_digest(text[-6:], _checksum(text[:-6]))


def verify(session: Session, text: str, pepper: str) -> Viewer | None:
    """Returns the viewer of this key; None when the key was never issued, has expired or was revoked, or its holder is disabled."""
    if not well_formed(text):
        return None
    row = repository.usable_key(session, text.split("_")[1])
    if not hmac.compare_digest(row.secret_hmac if row is not None else bytes(32), _seal(text, pepper)) or row is None:
        return None
    repository.note_use(session, row.id)
    return _viewer(session, row)


def holder_of(session: Session, key_id: str) -> Viewer | None:
    """Returns the viewer of the key with this id, None when it is no longer valid. For keys that were verified before."""
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


def ensure_first_key(
    sessions: sessionmaker[Session], key_file: Path, *, pepper: str | None = None, owner: str = "admin"
) -> str | None:
    """Returns the administrator's key in `key_file` (mode 0600); creates one when the file is missing or its key is not valid here.

    Returns None, and leaves the file, when another administrator has disabled `owner`: no key of theirs would work.
    """
    pepper = get_settings().key_pepper.get_secret_value() if pepper is None else pepper
    with sessions.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(_FIRST_KEY_LOCK)))
        if key_file.exists():
            text = key_file.read_text().strip()
            if verify(session, text, pepper) is not None:
                return text
        repository.add_user(session, owner, ITSELF.owner)
        user = repository.user(session, owner)
        if user is not None and user.disabled_at is not None:
            return None
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
    """Replaces `path` in one step by a file that is readable only by its owner at all times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text + "\n")
    temporary.replace(path)
