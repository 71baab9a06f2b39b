"""Adds, finds, shares and shows traits. Functions run in the caller's transaction and raise Problem for invalid requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.auth.sharing import Sharing, check, require_management, share
from app.auth.viewer import Viewer
from app.errors import Problem, invalid, not_found
from app.ids import new_id
from app.quotas.admission import check_at_commit
from app.storage.blobs import Blob, reference_lock
from app.storage.models import BlobRow
from app.traits import repository, suitability
from app.traits.dataset import Dataset
from app.traits.models import Trait
from app.traits.schemas import TraitDetail, TraitOut, TraitVersion

NAMED = 20
"""Most traits listed in an error."""


@dataclass(frozen=True)
class DatasetFile:
    """The location of a trait's dataset: digest and name."""

    digest: str
    size: int
    name: str
    media_type: str = "application/json"


def resolve(session: Session, reference: str, viewer: Viewer, pointer: str = "/trait") -> Trait:
    """Returns the trait meant by `name` (newest version; own before public before shared) or `name@version-prefix`.

    Raises Problem 422 at `pointer`, naming the available traits.
    """
    trait = _named(session, reference, viewer)
    if trait is not None:
        return trait
    names = repository.names(session, viewer, NAMED + 1)
    more = " and more (GET /v1/traits)" if len(names) > NAMED else ""
    known = f"You may use: {', '.join(names[:NAMED])}{more}." if names else "There are no traits yet: POST /v1/traits."
    raise invalid(pointer, "unknown_trait", f"No trait is called {reference!r}. {known}")


def _named(session: Session, reference: str, viewer: Viewer) -> Trait | None:
    name, _, version = reference.partition("@")
    traits = repository.named(session, name, version, viewer)
    return traits[0] if traits else None


def find(session: Session, reference: str, viewer: Viewer) -> TraitDetail:
    """Returns a trait by id, name or name@version-prefix, with the other versions of its name. Raises Problem 404."""
    trait = _found(session, reference, viewer)
    versions = repository.named(session, trait.name, "", viewer)
    listed = [TraitVersion(id=row.id, version=row.version, owner=row.owner, created_at=row.created_at) for row in versions]
    listed.sort(key=lambda version: (version.created_at, version.id), reverse=True)
    return TraitDetail(**view(trait).model_dump(), versions=listed)


def _found(session: Session, reference: str, viewer: Viewer) -> Trait:
    trait = repository.find(session, reference, viewer) or _named(session, reference, viewer)
    if trait is None:
        raise not_found("trait", reference)
    return trait


def one(session: Session, reference: str, viewer: Viewer) -> Trait:
    """Returns the single trait that a reference can mean. Raises Problem 404, and 409 for a name with several versions."""
    trait = _found(session, reference, viewer)
    versions = [other for other in repository.named(session, reference, "", viewer) if other.owner == trait.owner]
    if len(versions) > 1:
        listed = ", ".join(f"{other.name}@{other.version[:12]}" for other in versions[:NAMED])
        raise Problem(409, "several_versions", f"{reference} has {len(versions)} versions: {listed}. Name one of them.")
    return trait


def listing(
    session: Session, viewer: Viewer, *, name: str | None, owner: str | None, limit: int, before: tuple[datetime, str] | None
) -> Sequence[TraitOut]:
    """Returns a page of traits, newest first."""
    traits = repository.listing(session, viewer, name=name, owner=owner, limit=limit, before=before)
    return [view(trait) for trait in traits]


def file(session: Session, reference: str, viewer: Viewer) -> DatasetFile:
    """Returns the location of the trait's dataset. Raises Problem 404."""
    trait = _found(session, reference, viewer)
    blob = session.get_one(BlobRow, trait.version)
    return DatasetFile(blob.digest, blob.size, f"{trait.name}.{trait.version[:12]}.json")


def stored(session: Session, dataset: Dataset, viewer: Viewer, to: Sharing) -> TraitOut | None:
    """Returns the trait that the caller made earlier with this content, with the visibility requested now; None if there is none.

    Raises Problem 403 and 422 for sharing that the caller may not request, whether or not the trait is new.
    """
    may_share(session, viewer.owner, viewer, to)
    trait = repository.of_owner(session, viewer.owner, dataset.name, dataset.version)
    if trait is None:
        return None
    if to.visibility != "private":
        share(session, trait, trait.id, to, viewer)
    return view(trait)


def add(session: Session, dataset: Dataset, blob: Blob, viewer: Viewer, to: Sharing) -> tuple[TraitOut, bool]:
    """Adds a trait of the staged bytes, or finds the trait with the same content; also returns whether it is new. Raises BlobGone: stage
    again.
    """
    reference_lock(session, blob)
    made = repository.add(
        session,
        {
            "id": new_id("trait"), "name": dataset.name, "version": dataset.version, "owner": viewer.owner,
            "visibility": to.visibility, "group_name": to.group, "definition": dataset.definition,
            "counts": {**dataset.counts, "notes": dataset.notes},
        },
    )  # fmt: skip
    trait = repository.of_owner(session, viewer.owner, dataset.name, dataset.version)
    assert trait is not None
    if made:
        check_at_commit(session, viewer.owner)
    return view(trait), made


def change_sharing(session: Session, reference: str, to: Sharing, viewer: Viewer) -> TraitOut:
    """Sets the visibility of a trait. Raises Problem 403, 404, 422."""
    trait = _found(session, reference, viewer)
    require_management(viewer, trait.owner, trait.id)
    may_share(session, trait.owner, viewer, to)
    share(session, trait, trait.id, to, viewer)
    return view(trait)


def may_share(session: Session, owner: str, viewer: Viewer, to: Sharing) -> None:
    """Raises Problem 403 for a public trait, since everyone could use it by its name; 422 for a group that is not the owner's."""
    if to.visibility == "public" and not viewer.is_admin:
        detail = (
            "/visibility: only an administrator's key makes a trait public, because its name then means this "
            "trait for everyone. Share it with a group, or leave the field out."
        )
        raise Problem(403, "forbidden", detail)
    check(session, owner, to)


def view(trait: Trait) -> TraitOut:
    """Returns the trait as the API shows it."""
    own = f"/v1/traits/{trait.id}"
    counts = trait.counts.copy()
    warnings = suitability.of_trait(trait.name, counts)
    return TraitOut(
        id=trait.id,
        name=trait.name,
        version=trait.version,
        reference=f"{trait.name}@{trait.version[:12]}",
        owner=trait.owner,
        visibility=trait.visibility,
        group=trait.group_name,
        definition=trait.definition,
        made_for=counts.pop("made_for", None),
        notes=counts.pop("notes", []),
        warnings=warnings,
        counts=dict(counts),
        created_at=trait.created_at,
        links={"self": own, "dataset.json": f"{own}/dataset.json"},
    )
