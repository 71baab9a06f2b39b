"""Builds the entries of a form's lists: existing objects that the viewer may use, read from the services behind the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.auth.viewer import Viewer
from app.extractions import service as extractions
from app.extractions.repository import Place, VectorFilters
from app.extractions.results import VectorOut
from app.jobs.labels import Labels
from app.judges import service as judges
from app.models import service as models
from app.pages.forms.fields import Field, Values
from app.pages.wording import listed, when
from app.studies.schemas import METHODS
from app.traits import repository as traits
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
    by_field = {}
    for field in fields:
        if field.listed:
            offered = ASKED[field.asks](session, viewer, values)
            known = {choice.value for choice in offered}
            by_field[field.name] = offered + [
                Choice(text, text) for text in values.get(field.name, ()) if text and text not in known
            ]
    return by_field


def _first(values: Values, name: str) -> str:
    return next(iter(values.get(name, ())), "")


def _models(session: Session, _viewer: Viewer, _values: Values) -> list[Choice]:
    return [
        Choice(model.name, model.name, {"ready": ""}.get(model.state, model.state))
        for model in models.listing(session, limit=MOST, after=None)
        if model.state != "faulty"
    ]


def _traits(session: Session, viewer: Viewer, _values: Values) -> list[Choice]:
    """Returns one entry per trait name."""
    return [Choice(name, name) for name in traits.names(session, viewer, MOST)]


def _methods(_session: Session, _viewer: Viewer, _values: Values) -> list[Choice]:
    names = [name for name in METHODS if name not in CONTROLS]
    return [Choice(name, name) for name in dict.fromkeys((*names, *FURTHER_METHODS, "random"))]


def _judges(session: Session, _viewer: Viewer, _values: Values) -> list[Choice]:
    return [
        Choice(judge.name, f"{judge.name}, {judge.kind}" if judge.kind != judge.name else judge.name)
        for judge in judges.listing(session).items
    ]


def _extractions(session: Session, viewer: Viewer, values: Values) -> list[Choice]:
    newest = Choice("", "the newest extraction that fits, or a new one made first")
    model, trait = _first(values, "model"), _first(values, "trait").partition("@")[0]
    rows = extractions.listing(
        session, viewer, model=model or None, trait=trait or None, labels=Labels(None, None), limit=30, before=None
    )
    given = _first(values, "extraction")
    return [newest] + [
        Choice(
            given if given == extraction.job else extraction.id,
            f"{extraction.trait} on {extraction.model}, {when(extraction.created_at)}: {listed(extraction.methods, 4)}",
            extraction.doubt or "",
        )
        for extraction in rows
    ]


def vectors_of(session: Session, viewer: Viewer, model: str) -> Sequence[VectorOut]:
    """Returns the model's newest vectors, without controls; at most MOST_VECTORS."""
    vectors = extractions.vectors(session, viewer, VectorFilters(model=model), sort=None, limit=4 * MOST_VECTORS, after=Place())
    return [vector for vector in vectors if not is_control(vector.method)][:MOST_VECTORS]


def named(vector: VectorOut) -> str:
    """Returns the label of a vector: its name or trait, method, layer, position, and component if it is not the residual stream."""
    place = [vector.position, vector.component if vector.component != "residual" else None]
    return ", ".join(
        [f"{vector.name or vector.trait or 'vector'}: {vector.method}", f"layer {vector.layer}", *filter(None, place)]
    )


def _vectors(session: Session, viewer: Viewer, values: Values) -> list[Choice]:
    model = _first(values, "model")
    vectors = vectors_of(session, viewer, model) if model else []
    return [Choice(vector.id, named(vector), vector.doubt or "") for vector in vectors]


def _fixed(*offered: tuple[str, str]) -> Callable[[Session, Viewer, Values], list[Choice]]:
    return lambda _session, _viewer, _values: [Choice(value, words) for value, words in offered]


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
