"""What the API does to traits. Each function works in its caller's transaction and raises Problem for what the caller did wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.errors import Problem, invalid, not_found
from app.ids import new_id
from app.storage.blobs import Blob, reference_lock
from app.storage.models import BlobRow
from app.traits import repository
from app.traits.dataset import Dataset
from app.traits.models import Trait
from app.traits.schemas import TraitDetail, TraitOut, TraitVersion

NAMED = 20
"""Most traits that an error lists."""


@dataclass(frozen=True)
class DatasetFile:
    """Where the bytes of a trait's dataset are."""

    digest: str
    size: int
    name: str


def resolve(session: Session, reference: str, viewer: Viewer, pointer: str = "/trait") -> Trait:
    """The trait that a request means by `name` (the newest; the caller's own before public ones) or `name@version-prefix`.

    Raises Problem 422 at `pointer`, naming the traits there are.
    """
    found = _named(session, reference, viewer)
    if found is not None:
        return found
    names = repository.names(session, viewer, NAMED + 1)
    more = " and more (GET /v1/traits)" if len(names) > NAMED else ""
    known = f"You may use: {', '.join(names[:NAMED])}{more}." if names else "There is none yet: POST /v1/traits."
    raise invalid(pointer, "unknown_trait", f"No trait is called {reference!r}. {known}")


def _named(session: Session, reference: str, viewer: Viewer) -> Trait | None:
    name, _, version = reference.partition("@")
    found = repository.named(session, name, version, viewer)
    return found[0] if found else None


def find(session: Session, reference: str, viewer: Viewer) -> TraitDetail:
    """By id, name or name@version-prefix, with the other versions of its name. Raises Problem 404."""
    trait = _found(session, reference, viewer)
    versions = repository.named(session, trait.name, "", viewer)
    listed = [TraitVersion(id=one.id, version=one.version, owner=one.owner, created_at=one.created_at) for one in versions]
    listed.sort(key=lambda one: (one.created_at, one.id), reverse=True)
    return TraitDetail(**view(trait).model_dump(), versions=listed)


def _found(session: Session, reference: str, viewer: Viewer) -> Trait:
    found = repository.find(session, reference, viewer) or _named(session, reference, viewer)
    if found is None:
        raise not_found("trait", reference)
    return found


def listing(
    session: Session, viewer: Viewer, *, name: str | None, owner: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[TraitOut]:
    """A page of traits, newest first."""
    found = repository.listing(session, viewer, name=name, owner=owner, limit=limit, before=before)
    return [view(trait) for trait in found]


def file(session: Session, reference: str, viewer: Viewer) -> DatasetFile:
    """The trait's dataset. Raises Problem 404."""
    trait = _found(session, reference, viewer)
    blob = session.get_one(BlobRow, trait.version)
    return DatasetFile(blob.digest, blob.size, f"{trait.name}.{trait.version[:12]}.json")


def stored(session: Session, dataset: Dataset, *, owner: str, public: bool) -> TraitOut | None:
    """The trait, if this owner has uploaded this very content before; made public if that is asked for now."""
    found = repository.of_owner(session, owner, dataset.name, dataset.version)
    if found is None:
        return None
    found.public = found.public or public
    return view(found)


def add(session: Session, dataset: Dataset, blob: Blob, *, owner: str, public: bool) -> tuple[TraitOut, bool]:
    """Refers to the staged bytes; whether this made a trait, or found the same content there. Raises BlobGone: stage them again."""
    reference_lock(session, blob)
    made = repository.add(
        session, id=new_id("trait"), name=dataset.name, version=dataset.version, owner=owner, public=public,
        definition=dataset.definition, counts={**dataset.counts, "notes": dataset.notes},
    )  # fmt: skip
    trait = repository.of_owner(session, owner, dataset.name, dataset.version)
    assert trait is not None
    return view(trait), made


def may_publish(viewer: Viewer, public: bool) -> None:
    """Raises Problem 403: a public trait answers to its name for everybody."""
    if public and viewer.role != "admin":
        raise Problem(403, "forbidden", "/public: only an administrator's key makes a trait that everybody sees. Leave it out.")


def view(trait: Trait) -> TraitOut:
    """The trait as the API shows it."""
    own = f"/v1/traits/{trait.id}"
    counts = dict(trait.counts)
    return TraitOut(
        id=trait.id,
        name=trait.name,
        version=trait.version,
        reference=f"{trait.name}@{trait.version[:12]}",
        owner=trait.owner,
        public=trait.public,
        definition=trait.definition,
        notes=counts.pop("notes", []),
        counts=counts,
        created_at=trait.created_at,
        links={"self": own, "dataset.json": f"{own}/dataset.json"},
    )
