"""Finds what a job's spec reads, and protects it from deletion while the job is created.

A submission looks up the jobs, vectors, traits and models that it will read; each may be deleted before the submission commits. `hold` locks
their rows FOR KEY SHARE, which conflicts with a deletion's FOR UPDATE. So either the deletion finds the new job, or the submission finds that
its input is gone.
The order of locks is the same everywhere: jobs, vectors, traits, models, each by id.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import TextClause, event, text
from sqlalchemy.orm import Session, SessionTransaction

from app.errors import invalid
from app.ids import id_pattern
from terms.values import Json, JsonObject

_JOB, _VECTOR, _DIGEST = re.compile(id_pattern("job")), re.compile(id_pattern("vec")), re.compile(r"^[0-9a-f]{64}$")
_HELD = "held_rows"
_JOB_FIELDS = {"job", "extraction", "rows_from"}


@dataclass(frozen=True)
class Reads:
    """Ids of jobs and vectors, versions of traits, and names of models that a spec reads."""

    jobs: set[str] = field(default_factory=set)
    vectors: set[str] = field(default_factory=set)
    traits: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)


def reads_of(spec: JsonObject, model: str | None = None) -> Reads:
    """Returns everything that a spec names in a field from which its handler reads."""
    reads = Reads(models=set() if model is None else {model})
    for part in _objects(spec):
        for name, value in part.items():
            if not isinstance(value, str):
                continue
            if name in _JOB_FIELDS and _JOB.match(value):
                reads.jobs.add(value)
            elif name == "id" and _VECTOR.match(value):
                reads.vectors.add(value)
            elif name == "version" and _DIGEST.match(value):
                reads.traits.add(value)
            elif name == "model" and part.get("kind") == "local":  # a judge
                reads.models.add(value)
    return reads


def _objects(value: Json) -> Iterator[JsonObject]:
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


def hold(session: Session, reads: Reads, *, present: Collection[str] = (), results: bool = True) -> None:
    """Protects what a new job reads, and other jobs that it names (`present`), from deletion until this transaction ends.

    `results`: each job that is read must still have its results. Raises Problem 422 for anything that was already deleted.
    """
    jobs = {*reads.jobs, *present}
    held = _locked(session, {"job": jobs, "vector": reads.vectors, "trait": reads.traits, "model": reads.models})
    _require("job", jobs - held["job"].keys())
    _require("job", {job for job in reads.jobs if results and not held["job"][job]})
    _require("vector", reads.vectors - held["vector"].keys())
    _require("trait", reads.traits - held["trait"].keys())
    _require("model", {name for name in reads.models & held["model"].keys() if not held["model"][name]})


def _lock(what: str, table: str, column: str, usable: str = "true") -> str:
    return f"""SELECT * FROM (SELECT '{what}' AS what, {column} AS value, {usable} AS usable FROM {table}
    WHERE {column} = ANY(CAST(:{what} AS text[])) ORDER BY {column} FOR KEY SHARE) AS {table}_held"""


_LOCKS = {
    "job": _lock("job", "jobs", "id", "results_removed_at IS NULL"),
    "vector": _lock("vector", "vectors", "id"),
    "trait": _lock("trait", "traits", "version"),
    "model": _lock("model", "models", "name", "removed_at IS NULL"),
}
"""In the order of locks: Postgres runs the parts of a UNION ALL one after another, and row locks exclude parallel plans."""


@cache
def _locks(*kinds: str) -> TextClause:
    return text(" UNION ALL ".join(lock for what, lock in _LOCKS.items() if what in kinds))


def _locked(session: Session, wanted: Mapping[str, set[str]]) -> dict[str, dict[str, bool]]:
    """Locks the rows of these values against deletion; returns by kind each value that this transaction holds, and whether it is usable.

    Rows that this transaction locked before are not queried again: a request that creates several jobs holds the same model for each job.
    """
    held: dict[str, dict[str, bool]] = session.info.setdefault(_HELD, {what: {} for what in _LOCKS})
    new = {what: sorted(values - held[what].keys()) for what, values in wanted.items() if values - held[what].keys()}
    if new:
        for what, value, usable in session.execute(_locks(*new), new):
            held[what][value] = usable
    return held


@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    session.info.pop(_HELD, None)


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, _previous: SessionTransaction) -> None:
    """Forgets the held rows, also when a savepoint is rolled back: the rollback releases its locks."""
    session.info.pop(_HELD, None)


def _require(what: str, missing: set[str]) -> None:
    if missing:
        named = ", ".join(sorted(missing)[:3])
        detail = f"This job would read the {what} {named}, which has been deleted. Submit the request again with another {what}."
        raise invalid("", "reference_deleted", detail)
