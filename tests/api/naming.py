"""Which fields of request bodies name stored objects, found in the API's description; and functions that make such objects.

A string field that neither `NAMES` nor `TEXT` knows fails `test_every_string_of_every_body_is_known`: say there what it names.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.auth.visibility import Visibility
from app.extractions.models import Vector
from app.ids import new_id
from app.jobs.models import Job
from app.traits.models import Trait
from tests.api.extracted import store_extraction
from tests.api.world import GROUP, OWNER, World
from tests.hostile.routes import operations, schema_of, strings

FieldPath = tuple[Any, ...]
Situation = Literal["private", "group", "public", "unshared", "a disabled user's, public", "a deleted user's, private"]
SITUATIONS: dict[Situation, tuple[str, Visibility]] = {
    "private": (OWNER, "private"),
    "group": (OWNER, "group"),
    "public": (OWNER, "public"),
    "unshared": (OWNER, "private"),
    "a disabled user's, public": ("dora", "public"),
    "a deleted user's, private": ("nemo", "private"),
}
"""Owner and visibility of each object. `unshared` was public before; the user `nemo` was deleted, and the objects remain."""
NAMES = {
    "after/job": "job", "calibration": "calibration", "extraction": "extraction", "off_target/extraction": "extraction", "vectors": "vector",
    "trait": "trait", "off_target/trait": "trait", "traits": "trait", "model": "model", "models": "model", "judge": "judge",
    "beside": "calibration", "vetting/judge": "judge", "webhook": "webhook", "group": "group",
}  # fmt: skip
"""What a field names, by its place without indices."""
TEXT = {
    "answer", "cluster", "components", "definition", "eval_prompt", "experiment", "file", "key", "key_env", "label", "layers", "method",
    "methods", "name", "negative", "notes", "owner", "paraphrases", "position", "positions", "positive", "private_hosts", "prompt", "prompts",
    "question", "questions", "reason", "response", "revision", "rule", "selection", "source", "system_prompt", "tags", "test", "unrelated",
    "url", "value", "model_variant", "vector_layers",
}  # fmt: skip
"""Last parts of fields that name nothing stored: words, labels, files, addresses. (`owner` of a new key makes the user.)"""
LABELS = {"published/model", "published/trait"}
"""Fields that hold a name only to print it."""
SHARED = ("job", "calibration", "extraction", "vector", "trait")
"""Kinds of objects that have an owner. Models, judges and webhooks are the same for all users; a group has members."""
_numbers = itertools.count()


@dataclass(frozen=True)
class Reference:
    """A field of an operation's body that names an object of this kind."""

    operation: str
    schema: dict[str, Any]
    place: FieldPath
    kind: str

    @property
    def field(self) -> str:
        return plain(self.place)

    @property
    def dry(self) -> bool:
        """Whether the operation takes `dry_run`."""
        return any(
            told.get("name") == "dry_run"
            for method, path, what in operations()
            if f"{method} {path}" == self.operation
            for told in what.get("parameters", ())
        )


def plain(place: FieldPath) -> str:
    """The place without indices: `off_target/trait`."""
    return "/".join(part for part in place if part != 0)


def all_strings() -> Iterator[tuple[str, dict[str, Any], FieldPath]]:
    """Every string of every body: its operation, the body's schema, its place."""
    for method, path, told in operations():
        if "requestBody" in told:
            schema = schema_of(told)
            for place in dict.fromkeys(strings(schema)):
                yield f"{method} {path}", schema, place


def references() -> list[Reference]:
    """Every field that names something."""
    return [Reference(op, schema, place, NAMES[plain(place)]) for op, schema, place in all_strings() if plain(place) in NAMES]


def unknown() -> list[str]:
    """String fields that are in none of NAMES, LABELS and TEXT."""
    known = NAMES.keys() | LABELS
    return [
        f"{operation}: {plain(place)}"
        for operation, _, place in all_strings()
        if plain(place) not in known and [part for part in place if part != 0][-1] not in TEXT
    ]


def made(world: World, kind: str, owner: str, visibility: Visibility) -> list[str]:
    """Makes an object of this kind; returns every id or name by which a request may name it."""
    world.owner = owner
    try:
        return _MADE[kind](world, visibility)
    finally:
        world.owner = OWNER


def missing(kind: str, like: str) -> str:
    """A name of the same form as `like` that no object has."""
    return f"{like.split('_', maxsplit=1)[0]}_{'0' * 26}" if "_" in like else f"no-{kind}-{next(_numbers)}"


def share(world: World, names: list[str], visibility: Visibility) -> None:
    """Changes the visibility of what `made` made."""
    values = {"visibility": visibility, "group_name": GROUP if visibility == "group" else None}
    with world.api.sessions.begin() as session:
        for name in names:
            if name.startswith("job_"):
                session.execute(update(Job).where(Job.id == name).values(**values))
            session.execute(update(Vector).where(Vector.id == name).values(**values))
            session.execute(update(Trait).where(Trait.name == name).values(**values))


def remove(world: World, kind: str, name: str) -> None:
    """Takes a model or a judge off its list."""
    with world.api.sessions.begin() as session:
        session.execute(text(f"DELETE FROM {kind}s WHERE name = :name"), {"name": name})


def _version(session: Session) -> Trait:
    return session.query(Trait).filter(Trait.name == "refusal", Trait.visibility == "public").one()


def _extraction(world: World, visibility: Visibility) -> list[str]:
    with world.api.sessions() as session:
        version = _version(session).version
    found = list(store_extraction(world.api.sessions, world.api.context.storage, world.owner, version))
    share(world, found, visibility)
    return found


def _calibration(world: World, visibility: Visibility) -> list[str]:
    identifier = world.get("new calibration", visibility)
    with world.api.sessions() as session:
        job = session.execute(text("SELECT job_id FROM calibrations WHERE id = :id"), {"id": identifier}).scalar_one()
    return [identifier, job]


def _trait(world: World, visibility: Visibility) -> list[str]:
    with world.api.sessions.begin() as session:
        like = _version(session)
        row = Trait(
            id=new_id("trait"), name=f"trait{next(_numbers)}", version=like.version, owner=world.owner, definition="", counts=like.counts,
            visibility=visibility, group_name=GROUP if visibility == "group" else None,
        )  # fmt: skip
        session.add(row)
        return [row.name]


def _model(world: World, _visibility: Visibility) -> list[str]:
    name = f"model{next(_numbers)}"
    world.api.add_model(name)
    return [name]


_MADE = {
    "job": lambda world, visibility: [world.get("new job", visibility)],
    "calibration": _calibration,
    "extraction": _extraction,
    "vector": lambda world, visibility: [world.get("new vector", visibility)],
    "trait": _trait,
    "model": _model,
    "judge": lambda world, visibility: [world.get("new judge", visibility)],
    "webhook": lambda world, visibility: [world.get("new webhook", visibility)],
}
