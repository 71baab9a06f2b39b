"""Sharing: the request fields and the update itself. `visibility` decides who sees a shared object."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.orm import Session

from app.audit import service as audit
from app.auth import repository
from app.auth.viewer import Viewer
from app.auth.visibility import Shareable, Visibility
from app.errors import Problem, invalid

NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$"
"""Pattern of the names of users and groups."""
MYSELF = "me"
"""The caller, in addresses that name a user. No user may have this name."""
Name = Annotated[str, StringConstraints(pattern=NAME)]


class Sharing(BaseModel):
    """Request fields for visibility: who may see an object, in addition to its owner and administrators."""

    visibility: Visibility = Field(
        "private",
        description="private: the owner and administrators; group: also the members of `group`; public: everyone with a key",
    )
    group: Name | None = Field(None, description="one of your groups; only with the visibility `group`", examples=["interp"])


class ShareRequest(Sharing):
    """A change of visibility, which must be named: an empty change would make a shared object private."""

    model_config = ConfigDict(extra="forbid")

    visibility: Visibility = Field(description=Sharing.model_fields["visibility"].description)


def check(session: Session, owner: str, to: Sharing, *, keep: bool = True) -> None:
    """Raises Problem 422 unless `group` is given exactly when it is needed, and is a group of the owner. `keep` locks the
    group's row, so that the group is not deleted before this transaction ends; False in a read-only transaction, which cannot lock.
    """
    if to.visibility != "group":
        if to.group is not None:
            detail = f"/group is {to.group!r}, while /visibility is {to.visibility!r}: set /visibility to 'group', or leave /group out."
            raise invalid("/group", "group_without_visibility", detail)
        return
    if to.group is not None and keep:
        repository.group(session, to.group, keep=True)  # only for its lock
    mine = repository.groups_of(session, [owner])[owner]
    if to.group is None or to.group not in mine:
        have = f"{owner} is in: {', '.join(mine)}" if mine else f"{owner} is in no group"
        what = "is missing" if to.group is None else f"names {to.group!r}, and {owner} is not a member"
        raise invalid("/group", "not_in_group", f"/group {what}. {have}. An administrator adds users to groups.")


def share(session: Session, row: Shareable, identifier: str, to: Sharing, viewer: Viewer) -> bool:
    """Sets the visibility of a row; returns whether it changed.

    Raises Problem 403 for a row that the caller may see but not change, 422 as `check` does.
    """
    require_management(viewer, row.owner, identifier)
    check(session, row.owner, to)
    before = {"visibility": row.visibility, "group": row.group_name}
    after = {"visibility": to.visibility, "group": to.group}
    if before == after:
        return False
    row.visibility, row.group_name = to.visibility, to.group
    audit.record(session, viewer, "visibility.set", identifier, owner=row.owner, before=before, after=after)
    return True


def require_management(viewer: Viewer, owner: str, identifier: str) -> None:
    """Raises Problem 403 unless the viewer is the owner or an administrator. `identifier` names the object in the message."""
    if not viewer.manages(owner):
        raise Problem(
            403,
            "not_yours",
            f"{identifier} belongs to {owner}: you may read it, but only {owner} and administrators may change it.",
        )
