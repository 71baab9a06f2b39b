"""Finds what a stored spec refers to, and checks whether a caller may use all of it now.

The fields of a new request are checked where they are read. A job made from an earlier job's spec (a retry, a rescore that continues a failed
job) goes through `check`, so that its caller gains no access beyond today's rights. Ids are found at any depth of the spec, in the fields
that name things.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.auth.visibility import seen
from app.errors import Problem
from app.jobs import repository
from app.jobs.kinds import KINDS, Usable, kind_named
from app.jobs.models import Job
from app.judges.models import Judge
from app.judges.schemas import BUILT_IN
from app.models.models import Model
from app.traits.models import Trait
from terms.naming import NAMING
from terms.values import Json, JsonObject

NAMED = 5
"""Most references named in an error."""
ADDRESS = ("kind", "model", "url", "key_env")
"""Columns of a judge that must still have the values in the spec for the judge to count as the same."""

_ID = re.compile(r"([a-z]+)_[0-9a-z]{26}")


@cache
def _usable() -> Mapping[str, Usable]:
    """Returns, for each prefix of ids, the column that holds them and the condition on the rows that a viewer may use."""
    by_prefix: dict[str, Usable] = {"job": (Job.id, repository.usable), "trait": (Trait.id, lambda viewer: seen(Trait, viewer))}
    for kind in KINDS:
        by_prefix |= kind_named(kind).usable()
    return by_prefix


@dataclass
class References:
    """References of a spec: ids by prefix, traits by name and version, judges by name, and the model."""

    ids: dict[str, set[str]] = field(default_factory=dict)
    traits: set[tuple[str, str]] = field(default_factory=set)
    judges: dict[str, JsonObject] = field(default_factory=dict)
    model: str | None = None


def references(spec: Mapping[str, Json], inherited: Collection[str] = ()) -> References:
    """Returns all references of a spec except in its fields `inherited`, which were copied from a result that the spec also names."""
    own = {name: value for name, value in spec.items() if name not in inherited}
    refs = References(model=None if own.get("model") is None else str(own["model"]))
    for name, value in _fields(own):
        if name in NAMING and isinstance(value, str) and (match := _ID.fullmatch(value)) and match[1] in _usable():
            refs.ids.setdefault(match[1], set()).add(value)
        elif isinstance(value, dict) and value.keys() == {"name", "version"}:
            refs.traits.add((value["name"], value["version"]))
        elif isinstance(value, dict) and value.keys() >= {"name", *ADDRESS}:
            refs.judges[value["name"]] = value
    return refs


def _fields(value: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """Yields the value and every value inside it, each with the name of the field that holds it, also within a list."""
    yield name, value
    if isinstance(value, dict):
        for field_name, inner in value.items():
            yield from _fields(inner, field_name)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner, name)


def check(
    session: Session,
    viewer: Viewer,
    again: str,
    spec: JsonObject,
    after: Sequence[str],
    inherited: Collection[str] = (),
) -> None:
    """Checks that the viewer may use everything that the spec of the job `again` refers to, and the jobs `after` that it waits for.

    Raises Problem 409 `not_shared`, which names the references that the viewer may not use now.
    """
    refs = references(spec, inherited)
    refs.ids.setdefault("job", set()).update(after)
    lacking = [*_ids(session, viewer, refs.ids), *_traits(session, viewer, refs.traits), *_named(session, refs)]
    if lacking:
        raise not_shared(again, "reads", lacking)


def not_shared(identifier: str, does: str, lacking: Sequence[str]) -> Problem:
    """Returns Problem 409: the job or study `identifier` refers to the objects `lacking`, which the caller may not use."""
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    detail = (
        f"{identifier} {does} {', '.join(lacking[:NAMED])}{more}: deleted, changed, or no longer shared with "
        "you. Ask the owner to share it, or submit a new request without it."
    )
    return Problem(409, "not_shared", detail, facts={"lacking": list(lacking)})


def _ids(session: Session, viewer: Viewer, ids: Mapping[str, set[str]]) -> Iterator[str]:
    for prefix, wanted in sorted(ids.items()):
        column, may = _usable()[prefix]
        there = set(session.scalars(select(column).where(column.in_(sorted(wanted)), may(viewer)))) if wanted else set()
        yield from sorted(wanted - there)


def _traits(session: Session, viewer: Viewer, wanted: set[tuple[str, str]]) -> Iterator[str]:
    named = tuple_(Trait.name, Trait.version)
    rows = (
        session.execute(select(Trait.name, Trait.version).where(named.in_(sorted(wanted)), seen(Trait, viewer))) if wanted else ()
    )
    there = {(row.name, row.version) for row in rows}
    yield from (f"the trait {name}@{version[:12]}" for name, version in sorted(wanted - there))


def _named(session: Session, refs: References) -> Iterator[str]:
    """Yields the model and the judges of the spec that this server no longer has, or has with different settings."""
    model = None if refs.model is None else session.get(Model, refs.model)
    if refs.model is not None and (model is None or model.removed_at is not None):
        yield f"the model {refs.model}"
    for name, said in sorted(refs.judges.items()):
        row = session.get(Judge, name)
        built_in = BUILT_IN.get(name) == said["kind"]
        if not built_in and (row is None or any(getattr(row, part) != said[part] for part in ADDRESS)):
            yield f"the judge {name}"
