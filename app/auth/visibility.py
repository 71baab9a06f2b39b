"""The rule of visibility, as columns of a table and as a condition of its statements.

`private`: its owner and administrators. `group`: the members of one group too. `public`: everybody with a key. What a job made
(calibrations, extractions, extracted vectors, steerings, studies, files) follows the job; jobs, traits and imported vectors carry the
columns.
"""

from typing import Literal

from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, String, or_, true
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from app.auth.viewer import Viewer

Visibility = Literal["private", "group", "public"]


class Shareable:
    """The columns of what has an owner and may be shown to others. A group that is deleted leaves null: then nobody else sees it."""

    owner: Mapped[str] = mapped_column(String(100))
    visibility: Mapped[Visibility] = mapped_column(String(7), server_default="private")

    @declared_attr
    def group_name(self) -> Mapped[str | None]:
        return mapped_column(ForeignKey("groups.name", ondelete="SET NULL"), index=True)


def sharing_checks() -> tuple[CheckConstraint, CheckConstraint]:
    """The constraints of a table that is `Shareable`."""
    return (
        CheckConstraint("visibility IN ('private','group','public')", name="visibility"),
        CheckConstraint("group_name IS NULL OR visibility = 'group'", name="group"),
    )


def seen(table: type[Shareable], viewer: Viewer) -> ColumnElement[bool]:
    """The rows of a table that a caller may see."""
    if viewer.is_admin:
        return true()
    return or_(
        table.owner == viewer.owner,
        table.visibility == "public",
        table.group_name.in_(sorted(viewer.groups)),
    )
