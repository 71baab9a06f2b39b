"""Builds the entries of a form's lists: existing objects that the viewer may use, read from the services behind the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.extractions import service as extractions
from app.extractions.repository import VectorFilters
from app.extractions.results import VectorOut
from app.jobs.labels import Labels
from app.judges import service as judges
from app.models import service as models
from app.pages.forms.fields import Field, Values
from app.pages.wording import listed, when
from app.studies.schemas import METHODS
from app.traits import service as traits
from terms.methods import CONTROLS, is_control

MOST = 200
"""Most entries of a list; other names can be given as JSON."""
MOST_VECTORS = 60
FURTHER_METHODS = ("mean_diff_preclean", "mean_diff_rownorm_cleaned", "probe_preclean", "pca", "lda", "rfm", "gradient")


@dataclass(frozen=True)
class Choice:
    """An entry of a list. `note` says why it may not work."""

    value: str
    words: str
    note: str = ""


Choices = dict[str, list[Choice]]


def choices(session: Session, viewer: Viewer, fields: Sequence[Field], values: Values) -> Choices:
    """Returns the entries of every list of the form. Values that the form already contains are always included."""
    found = {}
    for field in fields:
        if field.listed:
            offered = ASKED[field.asks](session, viewer, values)
            known = {one.value for one in offered}
            found[field.name] = offered + [Choice(one, one) for one in values.get(field.name, ()) if one and one not in known]
    return found


def _first(values: Values, name: str) -> str:
    return next(iter(values.get(name, ())), "")


def _models(session: Session, _viewer: Viewer, _values: Values) -> list[Choice]:
    return [
        Choice(one.name, one.name, {"ready": ""}.get(one.state, one.state))
        for one in models.listing(session, limit=MOST, after=None)
        if one.state != "faulty"
    ]


def _traits(session: Session, viewer: Viewer, _values: Values) -> list[Choice]:
    """Returns one entry per trait name."""
    found = traits.listing(session, viewer, name=None, owner=None, limit=MOST, before=None)
    return [Choice(name, name) for name in sorted({one.name for one in found})]


def _methods(_session: Session, _viewer: Viewer, _values: Values) -> list[Choice]:
    names = [name for name in METHODS if name not in CONTROLS]
    return [Choice(name, name) for name in dict.fromkeys((*names, *FURTHER_METHODS, "random"))]


def _judges(session: Session, _viewer: Viewer, _values: Values) -> list[Choice]:
    return [
        Choice(one.name, f"{one.name}, {one.kind}" if one.kind != one.name else one.name) for one in judges.listing(session).items
    ]


def _extractions(session: Session, viewer: Viewer, values: Values) -> list[Choice]:
    newest = Choice("", "the newest extraction that fits, or one that is made first")
    model, trait = _first(values, "model"), _first(values, "trait").partition("@")[0]
    found = extractions.listing(
        session, viewer, model=model or None, trait=trait or None, labels=Labels(None, None), limit=30, before=None
    )
    given = _first(values, "extraction")
    return [newest] + [
        Choice(
            given if given == one.job else one.id,
            f"{one.trait} on {one.model}, {when(one.created_at)}: {listed(one.methods, 4)}",
            one.doubt or "",
        )
        for one in found
    ]


def vectors_of(session: Session, viewer: Viewer, model: str) -> Sequence[VectorOut]:
    """Returns the model's newest vectors, without controls; at most MOST_VECTORS."""
    found = extractions.vectors(session, viewer, VectorFilters(model=model), sort=None, limit=4 * MOST_VECTORS, offset=0)
    return [one for one in found if not is_control(one.method)][:MOST_VECTORS]


def named(one: VectorOut) -> str:
    """Returns the label of a vector: its name or trait, method, layer, position, and component if it is not the residual stream."""
    place = [one.position, one.component if one.component != "residual" else None]
    return ", ".join([f"{one.name or one.trait or 'vector'}: {one.method}", f"layer {one.layer}", *filter(None, place)])


def _vectors(session: Session, viewer: Viewer, values: Values) -> list[Choice]:
    model = _first(values, "model")
    return [Choice(one.id, named(one), one.doubt or "") for one in vectors_of(session, viewer, model)] if model else []


def _fixed(*offered: tuple[str, str]) -> Callable[[Session, Viewer, Values], list[Choice]]:
    return lambda _session, _viewer, _values: [Choice(*one) for one in offered]


ASKED: dict[str, Callable[[Session, Viewer, Values], list[Choice]]] = {
    "models": _models,
    "traits": _traits,
    "methods": _methods,
    "judges": _judges,
    "extractions": _extractions,
    "vectors": _vectors,
    "responses": _fixed(("generate", "generated by the model"), ("given", "those of the dataset")),
    "evidence": _fixed(("quick", "quick"), ("full", "full: refits, off-target traits, cleaning ablation")),
}
