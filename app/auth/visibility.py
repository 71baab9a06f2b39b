"""Visibility of objects: the columns of a table, and the condition in its statements.

`private`: the owner and administrators. `group`: also the members of one group. `public`: everybody with a key. The results of a job
(calibrations, extractions, extracted vectors, steerings, studies, files) have the visibility of the job; jobs, traits and imported vectors
have the columns.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import (
    ARRAY,
    BindParameter,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    String,
    any_,
    bindparam,
    literal,
    or_,
    true,
)
from sqlalchemy.orm import Mapped, declared_attr, mapped_column
from sqlalchemy.types import TypeEngine

from app.auth.viewer import Viewer

Visibility = Literal["private", "group", "public"]
OWNER, GROUPS = "viewer_owner", "viewer_groups"
"""Names of statement parameters."""
_NAMES: TypeEngine[Sequence[str]] = ARRAY(String)


class Shareable:
    """Columns of rows that have an owner and a visibility. Deleting a group sets `group_name` to null: then only the owner and
    administrators see the row.
    """

    owner: Mapped[str] = mapped_column(String(100))
    visibility: Mapped[Visibility] = mapped_column(String(7), server_default="private")

    @declared_attr
    def group_name(self) -> Mapped[str | None]:
        return mapped_column(ForeignKey("groups.name", ondelete="SET NULL"), index=True)


def sharing_checks() -> tuple[CheckConstraint, CheckConstraint]:
    """Returns the constraints of a table that is `Shareable`."""
    return (
        CheckConstraint("visibility IN ('private','group','public')", name="visibility"),
        CheckConstraint("group_name IS NULL OR visibility = 'group'", name="group"),
    )


def seen(table: type[Shareable], viewer: Viewer) -> ColumnElement[bool]:
    """Returns the condition on rows of a table that a caller may see."""
    return true() if viewer.is_admin else _seen(table, viewer.owner, literal(sorted(viewer.groups), _NAMES))


def seen_by_parameters(table: type[Shareable], *, admin: bool) -> ColumnElement[bool]:
    """Returns the condition of `seen` for a statement that is built once and run with `parameters_of` a viewer."""
    return true() if admin else _seen(table, bindparam(OWNER), bindparam(GROUPS, type_=_NAMES))


def parameters_of(viewer: Viewer) -> dict[str, str | list[str]]:
    """Returns the parameters of `seen_by_parameters` for this viewer."""
    return {} if viewer.is_admin else {OWNER: viewer.owner, GROUPS: sorted(viewer.groups)}


def _seen(table: type[Shareable], owner: str | BindParameter[str], groups: ColumnElement[Sequence[str]]) -> ColumnElement[bool]:
    shared = table.group_name == any_(groups)  # one array: `IN` would make another statement of each number of groups
    return or_(table.owner == owner, table.visibility == "public", shared)
