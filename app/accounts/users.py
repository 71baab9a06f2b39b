"""Creates, disables and lists users. Functions run in the caller's transaction and raise Problem for invalid requests."""

import re
from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.accounts.schemas import MeOut, UserEdit, UserOut
from app.audit import service as audit
from app.auth import repository
from app.auth.models import User
from app.auth.sharing import MYSELF, NAME
from app.auth.viewer import SCOPES, Viewer
from app.errors import Problem, invalid, not_found


def create(session: Session, name: str, viewer: Viewer) -> UserOut:
    """Creates a user. Raises Problem 409 when the name is taken, 422 for a reserved name."""
    _check_not_reserved(name, "/name")
    if not repository.add_user(session, name, viewer.owner):
        raise Problem(409, "user_exists", f"A user named {name} already exists.")
    audit.record(session, viewer, "user.create", name)
    return find(session, name)


def _check_not_reserved(name: str, pointer: str) -> None:
    if name == MYSELF:
        raise invalid(
            pointer,
            "reserved_name",
            f"{pointer} is {MYSELF!r}, which stands for the caller where a request names a user. Choose another name.",
        )


def require_enabled(session: Session, name: str, viewer: Viewer) -> None:
    """Creates the user if there is none. Raises Problem 409 for a disabled user, 422 for an invalid name."""
    known = repository.user(session, name)
    if known is None:
        if re.fullmatch(NAME, name) is None:
            detail = (
                f"/owner: {name!r} is not a valid user name. Use letters, digits and . _ @ -, and begin with a letter or digit."
            )
            raise invalid("/owner", "invalid_name", detail)
        _check_not_reserved(name, "/owner")
        if repository.add_user(session, name, viewer.owner):
            audit.record(session, viewer, "user.create", name)
    elif known.disabled_at is not None:
        raise Problem(
            409, "user_disabled", f"{name} has been disabled since {known.disabled_at:%Y-%m-%d}; enable the user first."
        )


def edit(session: Session, name: str, change: UserEdit, viewer: Viewer) -> UserOut:
    """Disables or enables a user. Raises Problem 404, and 409 for the caller's own user."""
    user = repository.user(session, name, lock=True)
    if user is None:
        raise not_found("user", name)
    if change.disabled and name == viewer.owner:
        raise Problem(409, "own_user", "You cannot disable yourself, which would lock you out. Ask another administrator.")
    if change.disabled != (user.disabled_at is not None):
        user.disabled_at = func.now() if change.disabled else None  # type: ignore[assignment]
        session.flush()
        session.refresh(user)
        audit.record(session, viewer, "user.disable" if change.disabled else "user.enable", name)
    return _views(session, [user])[0]


def find(session: Session, name: str) -> UserOut:
    """Returns a user. Raises Problem 404."""
    user = repository.user(session, name)
    if user is None:
        raise not_found("user", name)
    return _views(session, [user])[0]


def listing(session: Session, *, limit: int, after: str | None) -> list[UserOut]:
    """Returns a page of users, by name."""
    return _views(session, repository.users(session, limit=limit, after=after))


def me(viewer: Viewer) -> MeOut:
    """Returns the caller's user, rights and groups."""
    return MeOut(
        owner=viewer.owner,
        role=viewer.role,
        scopes=sorted(scope for scope in SCOPES if viewer.may(scope)),
        groups=sorted(viewer.groups),
        key_id=viewer.key_id or None,
    )


def _views(session: Session, users: Sequence[User]) -> list[UserOut]:
    names = [user.name for user in users]
    groups, keys = repository.groups_of(session, names), repository.live_keys(session, names)
    return [
        UserOut(
            name=user.name,
            groups=groups[user.name],
            live_keys=keys.get(user.name, 0),
            created_by=user.created_by,
            created_at=user.created_at,
            disabled_at=user.disabled_at,
            links={"self": f"/v1/users/{user.name}", "keys": f"/v1/keys?owner={user.name}"},
        )
        for user in users
    ]
