"""The search for words in jobs. Each must begin a word of the name, the notes or a tag; punctuation parts words, case is ignored."""

import re
import string

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.jobs.models import Job

_PARTS = re.compile(rf"[\s{re.escape(string.punctuation)}]+")


RARE = 1_000
"""So many jobs are looked up one by one; words that more jobs hold are compared in the order of the list, which soon fills a page."""


def holds_words(asked: str) -> ColumnElement[bool] | None:
    """The condition that a job holds all these words; None when nothing but punctuation is asked for."""
    parts = [part for part in _PARTS.split(asked) if part]
    if not parts:
        return None
    return Job.words.bool_op("@@")(func.to_tsquery("simple", " & ".join(f"'{part}':*" for part in parts)))


def narrowed(session: Session, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition, or the ids of the few jobs that meet it: the planner cannot know how rare the beginning of a word is."""
    hits = session.scalars(select(Job.id).where(condition).limit(RARE + 1)).all()
    return Job.id.in_(hits) if len(hits) <= RARE else condition
