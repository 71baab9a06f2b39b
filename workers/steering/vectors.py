"""Makes the subjects that a spec names: the vectors, their layers' units of dose, and the shuffled-label controls of each method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor

from binnacle.words.massive import massive_at
from terms.documents.calibration import CalibrationDocument
from terms.documents.extraction import VectorFacts
from terms.documents.massive import MassiveFacts
from terms.documents.reading import read_extraction
from terms.documents.steering import OfASibling
from terms.methods import UnknownMethod, parse_method
from terms.specs import GenerationSpec, SourceModel, SteeringSpec, VectorsOf
from workers.job import JobContext
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.steering.subjects import Subject, name_twins, part

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Named:
    """One vector with its layer, component and method."""

    position: str | None
    component: str
    method: str
    layer: int
    vector_D: Tensor
    key: str
    id: str | None
    facts: MassiveFacts | None = None
    source: SourceModel | None = None


@dataclass(frozen=True, eq=False)
class Loaded:
    """`subjects` are the requested vectors; `shuffled[group]` are the vectors of the same method on shuffled labels, by seed and layer."""

    subjects: Sequence[Subject]
    shuffled: Mapping[str, Sequence[Subject]]

    @property
    def competing(self) -> list[Subject]:
        """The subjects with searched doses: all but the refits."""
        return [one for one in self.subjects if not refit_of(one)]

    @property
    def refits(self) -> dict[str, list[Subject]]:
        """The refits on resampled prompts, by the group of the original method."""
        groups: dict[str, list[Subject]] = {}
        for one in self.subjects:
            if group := refit_of(one):
                groups.setdefault(group, []).append(one)
        return groups


def load_named(context: JobContext, spec: SteeringSpec | GenerationSpec) -> list[Named]:
    """Loads every vector that the spec's `vectors` and `from` name, and the controls stored with the latter. Raises JobFault missing_input."""
    named: list[Named] = []
    files: dict[str, dict[str, Tensor]] = {}
    for one in spec.get("vectors") or ():
        if one["digest"] not in files:
            files[one["digest"]] = load_safetensors(context.blob(one["digest"]))
        vector = files[one["digest"]][one["key"]].float()
        named.append(
            Named(
                one.get("position"),
                one["component"],
                one["method"],
                one["layer"],
                vector,
                one["key"],
                one.get("id"),
                one.get("facts"),
                one.get("source"),
            )
        )
    for source in spec["from"] or () if "from" in spec else ():
        tensors = load_safetensors(context.artifact(source["job"], "vectors.safetensors"))
        facts = {one["key"]: one for one in _facts(context, source["job"])}
        # a file of tensors has no order: sort by the methods' own order, then by layer
        place = {method: i for i, method in enumerate(source.get("methods") or ())}
        own = [
            _from_key(key, tensors[key].float(), facts.get(key), source.get("source"))
            for key in sorted(tensors)
            if _wanted(key, source)
        ]
        named += sorted(own, key=lambda one: (place.get(one.method, len(place)), one.layer))
    return named


def _facts(context: JobContext, job: str) -> Sequence[VectorFacts]:
    return read_extraction(context.artifact(job, "extraction.json"))["vectors"]


def _from_key(key: str, vector_D: Tensor, facts: MassiveFacts | None, source: SourceModel | None) -> Named:
    position, component, method, layer = key.split("/")
    return Named(position, component, method, int(layer), vector_D, key, None, facts, source)


def _wanted(key: str, source: VectorsOf) -> bool:
    position, component, method, layer = key.split("/")
    if not (_among(source.get("positions"), position) and _among(source.get("components"), component)):
        return False
    if not _among(source.get("layers"), int(layer)):
        return False
    methods = source.get("methods")
    return _among(methods, method) or (methods is not None and shuffled_of(method) in methods)


def _among(chosen: Sequence[T] | None, value: T) -> bool:
    return chosen is None or value in chosen


def shuffled_of(method: str) -> str | None:
    """The original method of a shuffled-label control; None for any other method."""
    try:
        parsed = parse_method(method)
    except UnknownMethod:
        return None  # an imported vector's own label
    return str(parsed.parameters["of"]) if parsed.base == "shuffled" else None


def refit_of(subject: Subject) -> str:
    """The group of the subject's original method if it is a refit; empty for any other subject."""
    refit = draw_of(subject)
    return subject.group.removesuffix(f"__refit{refit}") if refit else ""


def draw_of(subject: Subject) -> int:
    """The number of the resample on which the subject was refitted; 0 for any subject that is not a refit."""
    try:
        return int(parse_method(subject.method).parameters.get("refit", 0))
    except UnknownMethod:
        return 0  # an imported vector's own label


def load_subjects(
    lm: LanguageModel,
    named: Sequence[Named],
    *,
    units: Mapping[tuple[str, int], float],
    massive: Mapping[int, Sequence[int]],
    combine: bool,
    asked: Iterable[str] | None,
) -> Loaded:
    """Makes subjects in the order of the vectors, with twins named. `units[component, layer]` is the norm in which a dose is measured,
    `massive[layer]` the layer's massive dims.

    Raises ModelFault layer_out_of_range, unknown_component, wrong_width, vector_not_finite, same_place, no_vectors.
    """
    wanted = None if asked is None else set(asked)
    controls: dict[str, dict[int, dict[int, Named]]] = {}
    groups: dict[str, list[Named]] = {}
    for one in named:
        _check(lm, one)
        of = shuffled_of(one.method)
        if of is not None and (wanted is None or one.method not in wanted):
            seed = int(parse_method(one.method).parameters["seed"])
            controls.setdefault(group_name(one, of), {}).setdefault(seed, {})[one.layer] = one
        elif wanted is None or one.method in wanted:
            groups.setdefault(group_name(one, one.method), []).append(one)
    subjects = []
    for group, unsorted in groups.items():
        members = sorted(unsorted, key=lambda one: one.layer)
        _check_places(group, members)
        for together in [members] if combine else [[one] for one in members]:
            subjects.append(make_subject(group, together, units, massive))
    if not subjects:
        raise ModelFault("no_vectors", "The extraction holds no vector of these methods, layers and positions.")
    return Loaded(name_twins(subjects), _shuffled_controls(controls, units, massive, combine))


def _shuffled_controls(
    controls: Mapping[str, Mapping[int, Mapping[int, Named]]],
    units: Mapping[tuple[str, int], float],
    massive: Mapping[int, Sequence[int]],
    combine: bool,
) -> dict[str, list[Subject]]:
    """The controls by group, in order of seed and then of layer; `controls[group][seed][layer]`. As for the vectors themselves, `combine` makes
    one subject of all layers. Subjects with equal numbers are named twins."""
    groups, made = [], []
    for group, by_seed in controls.items():
        for place, seed in enumerate(sorted(by_seed)):
            members = [one for _, one in sorted(by_seed[seed].items())]
            for together in [members] if combine else [[one] for one in members]:
                groups.append(group)
                made.append(make_subject(f"{group}, labels shuffled {place}", together, units, massive))
    found: dict[str, list[Subject]] = {}
    for group, subject in zip(groups, name_twins(made), strict=True):
        found.setdefault(group, []).append(subject)
    return found


def massive_dims_at(calibration: CalibrationDocument, named: Iterable[Named]) -> dict[int, list[int]]:
    """The massive dims of every layer with a vector, from the calibration."""
    return {layer: massive_at(calibration["aggregate"], layer) for layer in sorted({one.layer for one in named})}


def group_name(one: Named, method: str) -> str:
    """`position/component/method`; an imported vector has no position. Vectors of a sibling model form their own group, with its name."""
    of = "" if one.source is None else f"{one.source['source_model']}:"
    return f"{of}{one.position or 'imported'}/{one.component}/{method}"


def make_subject(
    group: str, members: Sequence[Named], units: Mapping[tuple[str, int], float], massive: Mapping[int, Sequence[int]]
) -> Subject:
    """Makes one subject from vectors of one group at different layers."""
    first = members[0]
    return Subject(
        name=f"{group}/{'+'.join(str(one.layer) for one in members)}",
        group=group,
        method=first.method,
        position=first.position,
        component=first.component,
        layers=tuple(one.layer for one in members),
        parts=tuple(
            part(one.vector_D, one.layer, one.component, massive[one.layer], units[one.component, one.layer]) for one in members
        ),
        ids=tuple(one.id for one in members),
        keys=tuple(one.key for one in members),
        facts=first.facts if len(members) == 1 else None,
        source=_source(members),
    )


def _source(members: Sequence[Named]) -> OfASibling | None:
    """For vectors made on another model: that model, and its massive dims by layer, at which a cleaned vector has zeros."""
    if members[0].source is None:
        return None
    massive = {str(one.layer): None if one.facts is None else one.facts.get("massive") for one in members}
    dims = {layer: None if found is None else found.get("dims") for layer, found in massive.items()}
    return {**members[0].source, "source_massive_by_layer": dims}


def _check_places(group: str, members: Sequence[Named]) -> None:
    """Refuses two vectors at one layer: subjects are known by group and layer."""
    places: dict[int, Named] = {}
    for one in members:
        other = places.setdefault(one.layer, one)
        if other.id != one.id:
            detail = f"{other.id} and {one.id} are both {group}/{one.layer}, so the result could not tell them apart."
            raise ModelFault("same_place", f"{detail} Steer with each in a steering of its own.")


def _check(lm: LanguageModel, one: Named) -> None:
    lm.layout.site(one.layer, one.component)
    if not bool(torch.isfinite(one.vector_D).all()) or float(one.vector_D.norm()) == 0:
        raise ModelFault("vector_not_finite", f"The vector {one.key} is zero or holds NaN or infinity; it cannot steer.")
    width = lm.layout.width(one.component, one.layer)
    if len(one.vector_D) != width:
        raise ModelFault(
            "wrong_width",
            f"The vector {one.key} has {len(one.vector_D)} dimensions; {one.component} of this model has {width}. "
            "It comes from another model.",
        )
