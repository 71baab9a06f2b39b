"""The search for words in jobs. Each must begin a word of the name, the notes or a tag; punctuation parts words, case is ignored."""

import re
import string

from sqlalchemy import ColumnElement, func

from app.jobs.models import Job

_PARTS = re.compile(rf"[\s{re.escape(string.punctuation)}]+")


def holds_words(asked: str) -> list[ColumnElement[bool]]:
    """Conditions for a list of jobs, of which the index `jobs_words_idx` finds the rows; none when nothing but punctuation is asked for."""
    parts = [part for part in _PARTS.split(asked) if part]
    if not parts:
        return []
    wanted = func.to_tsquery("simple", " & ".join(f"'{part}':*" for part in parts))
    return [func.job_words(Job.name, Job.notes, Job.tags).bool_op("@@")(wanted)]
