"""Creates and deletes groups and changes their members. Functions run in the caller's transaction and raise Problem for invalid requests."""

from sqlalchemy.orm import Session

from app.accounts.schemas import GroupList, GroupOut
from app.audit import service as audit
from app.auth import repository
from app.auth.models import Group
from app.auth.viewer import Viewer
from app.errors import Problem, not_found


def create(session: Session, name: str, viewer: Viewer) -> GroupOut:
    """Creates a group without members. Raises Problem 409 when the name is taken."""
    if not repository.add_group(session, name, viewer.owner):
        raise Problem(409, "group_exists", f"A group named {name} already exists.")
    audit.record(session, viewer, "group.create", name)
    return find(session, name)


def delete(session: Session, name: str, viewer: Viewer) -> None:
    """Deletes a group. Objects shared with it are then visible only to their owners and administrators, also if a new group takes the name.

    Raises Problem 404.
    """
    members = find(session, name).members
    if not repository.delete_group(session, name):
        raise not_found("group", name)
    audit.record(session, viewer, "group.delete", name, members=members)


def add_member(session: Session, name: str, user: str, viewer: Viewer) -> GroupOut:
    """Adds a user to a group: the user now sees everything shared with it. Does nothing for a member. Raises Problem 404."""
    _require(session, name, keep=True)
    if repository.user(session, user) is None:
        raise not_found("user", user)
    if repository.add_member(session, name, user):
        audit.record(session, viewer, "group.add", name, user=user)
    return find(session, name)


def remove_member(session: Session, name: str, user: str, viewer: Viewer) -> None:
    """Removes a user from a group: the user no longer sees what others share with it, but what the user shared stays shared. Raises Problem
    404.
    """
    _require(session, name)
    if not repository.remove_member(session, name, user):
        raise not_found("member", f"{user} of {name}")
    audit.record(session, viewer, "group.remove", name, user=user)


def find(session: Session, name: str) -> GroupOut:
    """Returns a group with its members. Raises Problem 404."""
    return _view(_require(session, name), repository.members(session, name))


def listing(session: Session) -> GroupList:
    """Returns every group with its members."""
    return GroupList(items=[_view(group, sorted(members)) for group, members in repository.groups(session)])


def _require(session: Session, name: str, *, keep: bool = False) -> Group:
    group = repository.group(session, name, keep=keep)
    if group is None:
        raise not_found("group", name)
    return group


def _view(group: Group, members: list[str]) -> GroupOut:
    own = f"/v1/groups/{group.name}"
    return GroupOut(
        name=group.name, members=members, created_by=group.created_by, created_at=group.created_at, links={"self": own}
    )
