"""Loads the vectors that a spec names from files of earlier jobs (`load_named`), and makes subjects of them (`load_subjects`).

Vectors of a method on shuffled labels become controls of that method, unless the spec names them as vectors to steer with.
"""

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
        return [subject for subject in self.subjects if not refit_of(subject)]

    @property
    def refits(self) -> dict[str, list[Subject]]:
        """The refits on resampled prompts, by the group of the original method."""
        groups: dict[str, list[Subject]] = {}
        for subject in self.subjects:
            if group := refit_of(subject):
                groups.setdefault(group, []).append(subject)
        return groups


def load_named(context: JobContext, spec: SteeringSpec | GenerationSpec) -> list[Named]:
    """Loads every vector that the spec's `vectors` and `from` name, and the controls stored with the latter. Raises JobFault missing_input."""
    named: list[Named] = []
    files: dict[str, dict[str, Tensor]] = {}
    for vector_spec in spec.get("vectors") or ():
        if vector_spec["digest"] not in files:
            files[vector_spec["digest"]] = load_safetensors(context.blob(vector_spec["digest"]))
        vector_D = files[vector_spec["digest"]][vector_spec["key"]].float()
        named.append(
            Named(
                vector_spec.get("position"),
                vector_spec["component"],
                vector_spec["method"],
                vector_spec["layer"],
                vector_D,
                vector_spec["key"],
                vector_spec.get("id"),
                vector_spec.get("facts"),
                vector_spec.get("source"),
            )
        )
    for source in spec["from"] or () if "from" in spec else ():
        tensors = load_safetensors(context.artifact(source["job"], "vectors.safetensors"))
        facts = {vector_facts["key"]: vector_facts for vector_facts in _facts(context, source["job"])}
        # a file of tensors has no order: sort by the methods' own order, then by layer
        place = {method: i for i, method in enumerate(source.get("methods") or ())}
        own = [
            _from_key(key, tensors[key].float(), facts.get(key), source.get("source"))
            for key in sorted(tensors)
            if _wanted(key, source)
        ]
        named += sorted(own, key=lambda vector: (place.get(vector.method, len(place)), vector.layer))
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
    for vector in named:
        _check(lm, vector)
        of = shuffled_of(vector.method)
        if of is not None and (wanted is None or vector.method not in wanted):
            seed = int(parse_method(vector.method).parameters["seed"])
            controls.setdefault(group_name(vector, of), {}).setdefault(seed, {})[vector.layer] = vector
        elif wanted is None or vector.method in wanted:
            groups.setdefault(group_name(vector, vector.method), []).append(vector)
    subjects = []
    for group, unsorted in groups.items():
        members = sorted(unsorted, key=lambda member: member.layer)
        _check_places(group, members)
        for together in [members] if combine else [[member] for member in members]:
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
            members = [member for _, member in sorted(by_seed[seed].items())]
            for together in [members] if combine else [[member] for member in members]:
                groups.append(group)
                made.append(make_subject(f"{group}, labels shuffled {place}", together, units, massive))
    by_group: dict[str, list[Subject]] = {}
    for group, subject in zip(groups, name_twins(made), strict=True):
        by_group.setdefault(group, []).append(subject)
    return by_group


def massive_dims_at(calibration: CalibrationDocument, named: Iterable[Named]) -> dict[int, list[int]]:
    """The massive dims of every layer with a vector, from the calibration."""
    return {layer: massive_at(calibration["aggregate"], layer) for layer in sorted({vector.layer for vector in named})}


def group_name(vector: Named, method: str) -> str:
    """`position/component/method`; an imported vector has no position. Vectors of a sibling model form their own group, with its name."""
    of = "" if vector.source is None else f"{vector.source['source_model']}:"
    return f"{of}{vector.position or 'imported'}/{vector.component}/{method}"


def make_subject(
    group: str, members: Sequence[Named], units: Mapping[tuple[str, int], float], massive: Mapping[int, Sequence[int]]
) -> Subject:
    """Makes one subject from vectors of one group at different layers."""
    first = members[0]
    return Subject(
        name=f"{group}/{'+'.join(str(member.layer) for member in members)}",
        group=group,
        method=first.method,
        position=first.position,
        component=first.component,
        layers=tuple(member.layer for member in members),
        parts=tuple(
            part(member.vector_D, member.layer, member.component, massive[member.layer], units[member.component, member.layer])
            for member in members
        ),
        ids=tuple(member.id for member in members),
        keys=tuple(member.key for member in members),
        facts=first.facts if len(members) == 1 else None,
        source=_source(members),
    )


def _source(members: Sequence[Named]) -> OfASibling | None:
    """For vectors made on another model: that model, and its massive dims by layer, at which a cleaned vector has zeros."""
    if members[0].source is None:
        return None
    massive_by_layer = {str(member.layer): None if member.facts is None else member.facts.get("massive") for member in members}
    dims = {layer: None if massive is None else massive.get("dims") for layer, massive in massive_by_layer.items()}
    return {**members[0].source, "source_massive_by_layer": dims}


def _check_places(group: str, members: Sequence[Named]) -> None:
    """Refuses two vectors at one layer: subjects are known by group and layer."""
    places: dict[int, Named] = {}
    for member in members:
        other = places.setdefault(member.layer, member)
        if other.id != member.id:
            detail = f"{other.id} and {member.id} are both {group}/{member.layer}, so the result could not tell them apart."
            raise ModelFault("same_place", f"{detail} Steer with each in a steering of its own.")


def _check(lm: LanguageModel, vector: Named) -> None:
    lm.layout.site(vector.layer, vector.component)
    if not bool(torch.isfinite(vector.vector_D).all()) or float(vector.vector_D.norm()) == 0:
        raise ModelFault("vector_not_finite", f"The vector {vector.key} is zero or holds NaN or infinity; it cannot steer.")
    width = lm.layout.width(vector.component, vector.layer)
    if len(vector.vector_D) != width:
        raise ModelFault(
            "wrong_width",
            f"The vector {vector.key} has {len(vector.vector_D)} dimensions; {vector.component} of this model has {width}. "
            "It comes from another model.",
        )
