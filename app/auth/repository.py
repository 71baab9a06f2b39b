"""Database statements for users, groups and keys."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Row, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.auth.models import ApiKey, Group, GroupMember, User
from app.moments import ago

UNSYNCHRONIZED = {"synchronize_session": False}
"""Options of a statement that changes rows in the database alone: rows that the session has loaded keep their old values."""


def live() -> ColumnElement[bool]:
    """Returns the condition on keys that are neither revoked nor expired. A disabled holder requires a join with the users."""
    return ApiKey.revoked_at.is_(None) & or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


def usable_key(session: Session, key_id: str) -> ApiKey | None:
    """Returns the key if it is neither revoked nor expired and its holder is not disabled."""
    statement = select(ApiKey).join(User, User.name == ApiKey.owner)
    return session.scalars(statement.where(ApiKey.id == key_id, live(), User.disabled_at.is_(None))).one_or_none()


def note_use(session: Session, key_id: str) -> None:
    """Stores the time of the key's last use, at most once a minute."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < ago(minutes=1))
    session.execute(
        update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=func.now()), execution_options=UNSYNCHRONIZED
    )


def groups_of(session: Session, users: Iterable[str]) -> dict[str, list[str]]:
    """Returns the groups of each of these users, by user name."""
    by_user: dict[str, list[str]] = {name: [] for name in users}
    statement = select(GroupMember.user_name, GroupMember.group_name).where(GroupMember.user_name.in_(list(by_user)))
    for user, group in session.execute(statement.order_by(GroupMember.group_name)):
        by_user[user].append(group)
    return by_user


# -- keys


def keys(
    session: Session, *, owner: str | None, only_live: bool, limit: int | None, before: tuple[datetime, str] | None
) -> Sequence[ApiKey]:
    """Returns a page of keys, newest first; `before` is the `(created_at, id)` of the previous page's last key."""
    statement = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id.desc()).limit(limit)
    if owner is not None:
        statement = statement.where(ApiKey.owner == owner)
    if only_live:
        statement = statement.where(live())
    if before is not None:
        statement = statement.where(tuple_(ApiKey.created_at, ApiKey.id) < before)
    return session.scalars(statement).all()


def lock_key(session: Session, key_id: str) -> ApiKey | None:
    """Returns the key, locked against other changes until the transaction ends."""
    return session.get(ApiKey, key_id, with_for_update=True)


def successor(session: Session, key_id: str) -> str | None:
    """Returns the id of the key that replaced this key on rotation."""
    return session.scalar(select(ApiKey.id).where(ApiKey.replaces == key_id))


# -- users


def add_user(session: Session, name: str, by: str) -> bool:
    """Adds a user unless the name is taken; returns whether it was added."""
    made = insert(User).values(name=name, created_by=by).on_conflict_do_nothing().returning(User.name)
    return session.scalar(made) is not None


def user(session: Session, name: str, *, lock: bool = False) -> User | None:
    """Returns the user with this name."""
    return session.get(User, name, with_for_update=lock or None)


def users(session: Session, *, limit: int, after: str | None) -> Sequence[User]:
    """Returns a page of users by name; `after` is the previous page's last name."""
    statement = select(User).order_by(User.name).limit(limit)
    return session.scalars(statement if after is None else statement.where(User.name > after)).all()


def live_keys(session: Session, names: Iterable[str]) -> Mapping[str, int]:
    """Returns the number of keys of each user that are neither revoked nor expired."""
    counted = select(ApiKey.owner, func.count().label("live")).where(ApiKey.owner.in_(list(names)), live()).group_by(ApiKey.owner)
    return {row.owner: row.live for row in session.execute(counted)}


# -- groups


def add_group(session: Session, name: str, by: str) -> bool:
    """Adds a group unless the name is taken; returns whether it was added."""
    made = insert(Group).values(name=name, created_by=by).on_conflict_do_nothing().returning(Group.name)
    return session.scalar(made) is not None


def group(session: Session, name: str, *, keep: bool = False) -> Group | None:
    """Returns the group with this name. With `keep`, it cannot be deleted before this transaction ends."""
    return session.get(Group, name, with_for_update={"read": True, "key_share": True} if keep else None)


def members(session: Session, group: str) -> list[str]:
    """Returns the names of a group's members, in order."""
    statement = select(GroupMember.user_name).where(GroupMember.group_name == group)
    return list(session.scalars(statement.order_by(GroupMember.user_name)))


def groups(session: Session) -> Sequence[Row[Group, list[str]]]:
    """Returns every group with the names of its members, by name. Administrators create groups by hand, so there are few."""
    members = func.array_remove(func.array_agg(GroupMember.user_name.distinct()), None)
    statement = select(Group, members).outerjoin(GroupMember, GroupMember.group_name == Group.name)
    return session.execute(statement.group_by(Group.name).order_by(Group.name)).all()


def delete_group(session: Session, name: str) -> bool:
    """Deletes a group and its memberships; returns whether it existed. Objects shared with it become private."""
    return (
        session.scalar(delete(Group).where(Group.name == name).returning(Group.name), execution_options=UNSYNCHRONIZED)
        is not None
    )


def add_member(session: Session, group_name: str, user_name: str) -> bool:
    """Adds the user to the group; returns whether the user was not in it before."""
    made = insert(GroupMember).values(group_name=group_name, user_name=user_name).on_conflict_do_nothing()
    return session.scalar(made.returning(GroupMember.user_name)) is not None


def remove_member(session: Session, group_name: str, user_name: str) -> bool:
    """Removes the user from the group; returns whether the user was in it."""
    gone = delete(GroupMember).where(GroupMember.group_name == group_name, GroupMember.user_name == user_name)
    return session.scalar(gone.returning(GroupMember.user_name), execution_options=UNSYNCHRONIZED) is not None
