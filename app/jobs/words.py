"""Searches jobs for words. Each must begin a word of the name, the notes or a tag; punctuation separates words, case is ignored."""

import re
import string

from sqlalchemy import ColumnElement, func, select

from app.db import Rows, among
from app.jobs.models import Job

_PARTS = re.compile(rf"[\s{re.escape(string.punctuation)}]+")


RARE = 1_000
"""Up to this many matching jobs are looked up by id. More frequent words are compared in list order, which soon fills a page."""


def holds_words(asked: str) -> ColumnElement[bool] | None:
    """Returns the condition that a job contains all these words; None when the query holds only punctuation."""
    parts = [part for part in _PARTS.split(asked) if part]
    if not parts:
        return None
    return Job.words.bool_op("@@")(func.to_tsquery("simple", " & ".join(f"'{part}':*" for part in parts)))


def narrowed(session: Rows, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Returns the condition, or the ids of matching jobs when they are few: the query planner cannot know how rare the start of a word is."""
    hits = session.scalars(select(Job.id).where(condition).limit(RARE + 1)).all()
    return among(Job.id, hits) if len(hits) <= RARE else condition
