"""Imports vectors from a file, completes missing fields from the request, and checks the vectors against the model.

They are stored like extracted vectors, as unit vectors in one safetensors object with separate norms, and marked as imported: the data and
weights that they were made from are unknown.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.auth.sharing import Sharing, check, share
from app.auth.viewer import Viewer
from app.errors import invalid
from app.extractions.import_schemas import METHOD, ImportFields
from app.extractions.models import Vector
from app.formats import tensorfile
from app.formats.registry import read_vectors, recognised
from app.formats.vectors import NamedVector, Origin, Unreadable
from app.ids import new_id
from app.models import service as models
from app.models.layers import check_layer
from app.quotas.admission import check_at_commit, check_upload
from app.storage.blobs import Blob, reference_lock
from app.text import check_text
from app.traits import service as traits
from binnacle.words.counting import counted
from terms.components import COMPONENTS
from terms.documents.model import ModelFactsDocument
from terms.positions import UnknownPosition, parse_position
from terms.values import JsonObject

Part = TypeVar("Part", int, str)
"""A part of a vector's place."""
CONVENTIONS = {
    "gguf": "direction.N is the output of block N, which is layer N here, plus the file's controlvector.layer_offset where it has one.",
    "safetensors": "Layer N, of the key or of the request, was taken as the output of block N, 0-based, before any final norm.",
    "npy": "The request's layers, in the order of the rows, were taken as outputs of blocks, 0-based, before any final norm.",
}


@dataclass(frozen=True)
class Target:
    """What the database knows about the model and trait of a request."""

    facts: ModelFactsDocument
    trait: str | None
    trait_version: str | None


@dataclass(frozen=True)
class Import:
    """Checked vectors: `data` is the object to store, `rows` the columns of each vector except those added on storing."""

    name: str | None
    data: bytes
    digest: str
    rows: list[JsonObject]


def target(session: Session, request: ImportFields, viewer: Viewer) -> Target:
    """Returns what the request's model and trait are in the database.

    Raises Problem 422 for a model that is not registered, not inspected yet or faulty, for an unknown trait, and for a group without the
    caller.
    """
    check_text(request.model_dump(mode="json", exclude={"file"}))
    check(session, viewer.owner, request)
    model = models.usable(session, request.model)
    if not model.inspected:
        detail = (
            f"{request.model} is still being inspected, so its layers and width are not known yet. Try again when it is ready."
        )
        raise invalid("/model", "model_not_inspected", detail)
    if request.trait is None:
        return Target(model.facts, None, None)
    trait = traits.resolve(session, request.trait, viewer)
    return Target(model.facts, trait.name, trait.version)


def read(request: ImportFields, data: bytes, to: Target, most: int) -> Import:
    """Reads the vectors of the file and assigns each its place in the model. Raises Problem 422."""
    if not data.strip():
        raise invalid("/file", "empty_file", "The file is empty. Send one that holds vectors.")
    try:
        form = request.format or recognised(data)
        vectors = read_vectors(form, data, most)
    except Unreadable as error:
        raise invalid("/file", "unreadable_vectors", str(error)) from error
    vectors = _placed(request, vectors)
    _check_model(request, vectors, to.facts)
    digest = hashlib.sha256(data).hexdigest()
    provenance: dict[str, int | str] = {
        "source": "imported",
        "format": form,
        "file_sha256": digest,
        "file_bytes": len(data),
        "convention": CONVENTIONS[form],
    }
    rows, units = [], {}
    for named in vectors:
        exact = named.vector.astype(np.float64)
        norm = float(np.linalg.norm(exact))
        units[named.key] = (exact / norm).astype(np.float32)
        rows.append(_row(request, named, norm, to, provenance))
    origin = Origin(request.model, "", to.facts.get("weight_hash"), to.trait, to.trait_version)
    stored_as = tensorfile.to_bytes(units, {**origin.facts(), "source": "imported", "file_sha256": digest})
    return Import(request.name, stored_as, hashlib.sha256(stored_as).hexdigest(), rows)


def _row(request: ImportFields, named: NamedVector, norm: float, to: Target, provenance: dict[str, int | str]) -> JsonObject:
    place = {"position": named.position, "component": named.component, "method": named.method, "layer": named.layer}
    width = int(named.vector.size)
    unknown = dict.fromkeys(("baseline", "fit", "separation", "massive", "stability", "pairs", "counts", "seed"))
    facts = {
        "key": named.key,
        **place,
        "width": width,
        "norm": norm,
        **unknown,
        "provenance": {**provenance, "tensor": named.name},
    }
    return {
        "source": "imported", "name": request.name, "model": request.model, "weight_hash": to.facts.get("weight_hash"),
        "trait": to.trait, "trait_version": to.trait_version, **place, "width": width, "key": named.key, "norm": norm, "facts": facts,
    }  # fmt: skip


def _placed(request: ImportFields, vectors: Sequence[NamedVector]) -> list[NamedVector]:
    """Returns each vector with layer, component, method and position from the file, or else from the request."""
    given = request.layers
    if given is not None and len(given) != len(vectors):
        detail = (
            f"/vector_layers names {counted(len(given), 'layer')}; the file holds {counted(len(vectors), 'vector')}. Name one "
            "layer for each vector, in the file's order."
        )
        raise invalid("/vector_layers", "layers_do_not_match", detail)
    placed = [_place(request, named, None if given is None else given[i]) for i, named in enumerate(vectors)]
    seen: set[str] = set()
    for named in placed:
        if named.key in seen:
            detail = f"The file holds two vectors of {named.key}. Import them one by one, each with a different /method."
            raise invalid("/file", "duplicate_vector", detail)
        seen.add(named.key)
    return placed


def _place(request: ImportFields, named: NamedVector, layer: int | None) -> NamedVector:
    agreed_layer = _agreed("vector_layers", named.layer, layer, named)
    if agreed_layer is None:
        detail = (
            f"The file does not name the layer of {named.name or 'its vector'}. Give /vector_layers, one for each "
            "vector, in the file's order."
        )
        raise invalid("/vector_layers", "missing_layer", detail)
    return NamedVector(
        named.vector,
        agreed_layer,
        _agreed("component", named.component, request.component, named) or "residual",
        _agreed("method", named.method, request.method, named) or METHOD,
        _agreed("position", _position(named.position, "/file"), _position(request.position, "/position"), named),
        named.name,
    )


def _agreed(field: str, said: Part | None, asked: Part | None, named: NamedVector) -> Part | None:
    if said is not None and asked is not None and said != asked:
        detail = f"The file says {said!r} of {named.name!r}, /{field} says {asked!r}. Leave /{field} out to use the file's value."
        raise invalid(f"/{field}", "contradicts_file", detail)
    return asked if said is None else said


def _position(text: str | None, pointer: str) -> str | None:
    if text is None:
        return None
    try:
        return str(parse_position(text))
    except UnknownPosition as error:
        raise invalid(pointer, "unknown_position", str(error)) from error


def _check_model(request: ImportFields, vectors: Sequence[NamedVector], facts: ModelFactsDocument) -> None:
    for named in vectors:
        assert named.layer is not None
        check_layer(
            named.layer, "/vector_layers" if request.layers else "/file", request.model, facts, of=named.name or "the vector"
        )
        width = facts["widths"].get(named.component or "")
        if width is None:
            have = ", ".join(name for name in COMPONENTS if name in facts["widths"])
            detail = f"{named.name or 'The vector'} is of the component {named.component}; {request.model} has {have}."
            raise invalid("/file", "unknown_component", detail)
        if named.vector.size != width:
            detail = (
                f"{named.name or 'The vector'} has {named.vector.size:,} numbers; {named.component} of {request.model} has {width:,}. "
                "It belongs to another model."
            )
            raise invalid("/file", "wrong_width", detail)


def stored(session: Session, digest: str, owner: str) -> Sequence[Vector]:
    """Returns the vectors that this owner imported before from the same file, with the same labels and model."""
    statement = select(Vector).where(Vector.owner == owner, Vector.digest == digest, Vector.source == "imported")
    return session.scalars(statement.order_by(Vector.layer, Vector.key)).all()


def check_quota(session: Session, wanted: Import, owner: str) -> None:
    """Checks the quota before the bytes are stored. Raises Problem 429 when the bytes are new to the owner and exceed the quota."""
    if not stored(session, wanted.digest, owner):
        check_upload(session, owner, len(wanted.data))


def add(session: Session, wanted: Import, blob: Blob, viewer: Viewer, to: Sharing) -> tuple[Sequence[Vector], bool]:
    """Adds the vectors that are missing, and names and shares all of them if the request does; returns them and whether any is new.

    Raises Problem 429 for a quota, and BlobGone: stage the bytes again.
    """
    owner = viewer.owner
    reference_lock(session, blob)
    # a concurrent equal request waits here until this one has committed, and then finds its rows
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"import {owner} {blob.digest}", 0))))
    earlier = stored(session, blob.digest, owner)
    missing = [row for row in wanted.rows if row["key"] not in {vector.key for vector in earlier}]  # some may have been deleted
    for row in earlier:
        row.name = wanted.name or row.name
        if to.visibility != "private":
            share(session, row, row.id, to, viewer)
    if not missing:
        return earlier, False
    own = {"owner": owner, "digest": blob.digest, "visibility": to.visibility, "group_name": to.group}
    session.add_all(Vector(id=new_id("vec"), **own, **row) for row in missing)
    session.flush()
    check_at_commit(session, owner)
    return stored(session, blob.digest, owner), True
