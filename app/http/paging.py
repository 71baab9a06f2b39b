"""Builds pages of lists, newest first: `{"items": [...], "next_cursor": ...}`, with opaque cursors and no totals."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Self, TypeVar

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field
from sqlalchemy.orm import Session

from app.http.context import Context
from app.moments import TimeAndId
from binnacle.words.layout import FOLDER

Item = TypeVar("Item")
Sent = TypeVar("Sent")
LARGEST = 200
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _clamp(limit: int) -> int:
    """Reduces a limit above the maximum to the maximum: clients must follow cursors anyway."""
    return min(limit, LARGEST)


Limit = Annotated[
    int,
    Field(ge=1),  # placed before the validator, or pydantic writes `ge` and not `minimum` into the schema
    AfterValidator(_clamp),
    Query(description=f"entries per page; {LARGEST} at most"),
]
Cursor = Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before")]

LabelQuery = Annotated[str | None, Query(max_length=100, pattern=FOLDER, description="the label given at submit")]
"""A filter by label: an experiment or a model variant."""


def _written(value: Sent) -> Sent | str:
    """Makes pydantic refuse a text that does not begin with a date: it would read a bare number as seconds since 1970."""
    return "" if isinstance(value, str) and _DATE.match(value) is None else value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time in a query, with its offset from UTC."""


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next_cursor` is null on the last one. A class for each list names it in the schema."""

    items: list[Item]
    next_cursor: str | None = Field(description="send this as `cursor`, with the same filters; null on the last page")

    @classmethod
    def of(cls, entries: Sequence[Item], limit: int, cursor_at: Callable[[Item], str]) -> Self:
        """Returns the first `limit` entries. If there are further ones, `cursor_at` makes the cursor from the page's last entry."""
        items = list(entries[:limit])
        return cls(items=items, next_cursor=cursor_at(items[-1]) if len(entries) > limit else None)

    @classmethod
    async def newest(
        cls,
        context: Context,
        fetch: Callable[[Session, TimeAndId | None, int], Sequence[Item]],
        *,
        scope: str,
        limit: int,
        cursor: str | None,
        key: Callable[[Item], TimeAndId],
    ) -> Self:
        """Returns a page of a list, newest first; `fetch(session, before, count)` returns entries after the entry with key `before`.

        `scope` names the list and its filters; `key(item)` is the `(created_at, id)` by which the list is sorted.
        Raises Problem 422 for an invalid cursor.
        """
        before = None if cursor is None else context.cursors.read(scope, cursor)
        entries = await context.database.read(fetch, before, limit + 1)
        return cls.of(entries, limit, lambda last: context.cursors.make(scope, *key(last)))
