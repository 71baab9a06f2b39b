"""Creates, rotates, revokes and lists keys. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.accounts import users
from app.accounts.schemas import KeyOut, KeyRequest, NewKeyOut, RotateRequest
from app.audit import service as audit
from app.auth import repository
from app.auth.keys import NewKey, new_key
from app.auth.models import ApiKey, User
from app.auth.viewer import ALLOWED, Role, Scope, Viewer
from app.errors import Problem, invalid, not_found
from app.text import check_text

READ: frozenset[Scope] = frozenset({"read"})


def create(session: Session, request: KeyRequest, viewer: Viewer, pepper: str) -> NewKeyOut:
    """Creates a key for the holder, and the user if no user has this name.

    Raises Problem 422 for scopes beyond the role, 409 for a disabled holder, and 409 on a server without a pepper: once it has a
    pepper, it would refuse these keys.
    """
    check_text(request.model_dump())
    _require_pepper(pepper)
    allowed = ALLOWED[request.role]
    scopes = allowed if request.scopes is None else READ | set(request.scopes)
    beyond = sorted(scopes - allowed)
    if beyond:
        detail = f"/scopes names {', '.join(beyond)}, which the role {request.role} does not allow; it allows {', '.join(sorted(allowed))}."
        raise invalid("/scopes", "scope_beyond_role", detail)
    users.require_enabled(session, request.owner, viewer)
    expires_at = None if request.days is None else _now(session) + timedelta(days=request.days)
    made = new_key(request.owner, request.role, pepper, scopes=scopes, label=request.label, expires_at=expires_at)
    session.add(made.row)
    session.flush()
    audit.record(session, viewer, "key.create", made.row.id, owner=request.owner, role=request.role, scopes=made.row.scopes)
    return _shown_once(session, made)


def rotate(session: Session, key_id: str, request: RotateRequest, viewer: Viewer, pepper: str) -> NewKeyOut:
    """Creates a new key with the same holder, role and scopes; the old key expires after the overlap, or earlier if it would anyway.

    Raises Problem 404, and 409 for a key that is no longer valid or was rotated before.
    """
    _require_pepper(pepper)
    old = _locked(session, key_id)
    now = _now(session)
    if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
        raise Problem(409, "key_not_live", f"{key_id} is revoked or has expired: make a new key instead.")
    successor = repository.successor(session, key_id)
    if successor is not None:
        raise Problem(409, "key_rotated", f"{key_id} was already rotated to {successor}. Rotate {successor}, or make a new key.")
    users.require_enabled(session, old.owner, viewer)
    meant = None if old.expires_at is None else old.expires_at - old.created_at
    lifetime = timedelta(days=request.days) if request.days is not None else meant
    scopes = cast(Sequence[Scope], old.scopes)
    expires_at = None if lifetime is None else now + lifetime
    made = new_key(old.owner, old.role, pepper, scopes=scopes, label=old.label, expires_at=expires_at)
    made.row.replaces = key_id
    session.add(made.row)
    ends = now + timedelta(hours=request.overlap_hours)
    old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
    session.flush()
    audit.record(
        session, viewer, "key.rotate", key_id, owner=old.owner, to=made.row.id, old_key_expires=old.expires_at.isoformat()
    )
    return _shown_once(session, made)


def revoke(session: Session, key_id: str, viewer: Viewer) -> KeyOut:
    """Revokes a key; every process of the service refuses it within five seconds. Revoking it again changes nothing.

    Raises Problem 404, and 409 for the key of this request: it must be revoked with another key.
    """
    row = _locked(session, key_id)
    if row.id == viewer.key_id:
        raise Problem(
            409, "own_key", "This request uses the key that it would revoke. Rotate the key, then revoke it with the new one."
        )
    if row.revoked_at is None:
        row.revoked_at = _now(session)
        session.flush()
        audit.record(session, viewer, "key.revoke", key_id, owner=row.owner)
    return _views(session, [row])[0]


def find(session: Session, key_id: str) -> KeyOut:
    """Returns a key. Raises Problem 404."""
    row = session.get(ApiKey, key_id)
    if row is None:
        raise not_found("key", key_id)
    return _views(session, [row])[0]


def listing(
    session: Session, *, owner: str | None, live: bool, limit: int | None = None, before: tuple[datetime, str] | None = None
) -> list[KeyOut]:
    """Returns a page of keys, newest first."""
    return _views(session, repository.keys(session, owner=owner, only_live=live, limit=limit, before=before))


def _locked(session: Session, key_id: str) -> ApiKey:
    row = repository.lock_key(session, key_id)
    if row is None:
        raise not_found("key", key_id)
    return row


def _now(session: Session) -> datetime:
    return session.scalars(select(func.now())).one()


def _require_pepper(pepper: str) -> None:
    if not pepper:
        detail = (
            "BINNACLE_KEY_PEPPER is empty: a key made now would stop working once it is set. Set the variable, restart the service, "
            "then make keys."
        )
        raise Problem(409, "no_pepper", detail)


def _shown_once(session: Session, made: NewKey) -> NewKeyOut:
    session.refresh(made.row)
    return NewKeyOut(key=made.text, **_views(session, [made.row])[0].model_dump())


def _views(session: Session, rows: Sequence[ApiKey]) -> list[KeyOut]:
    now = _now(session)
    holders = {name: session.get(User, name) for name in {row.owner for row in rows}}
    return [_view(row, now, holders[row.owner]) for row in rows]


def _view(row: ApiKey, now: datetime, holder: User | None) -> KeyOut:
    own = f"/v1/keys/{row.id}"
    live = row.revoked_at is None and (row.expires_at is None or row.expires_at > now)
    return KeyOut(
        id=row.id, owner=row.owner, role=cast(Role, row.role), scopes=cast(list[Scope], row.scopes), label=row.label,
        live=live and holder is not None and holder.disabled_at is None, created_at=row.created_at, expires_at=row.expires_at,
        revoked_at=row.revoked_at, last_used_at=row.last_used_at, replaces=row.replaces,
        links={"self": own, "rotate": f"{own}/rotate", "revoke": f"{own}/revoke", "owner": f"/v1/users/{row.owner}"},
    )  # fmt: skip
