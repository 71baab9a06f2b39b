"""Plans a study as a graph of ordinary requests, without a database: the requests, their order, and their references.

    calibrate/<model>  ->  extract/<model>/<trait>, ...  ->  steer/<model>/<trait>, ...

A body may contain `Ref(node)`, which is replaced by the id of that node's job at submission. Nodes are ordered by model, so that a worker
loads each model once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import TypeAliasType

from app.studies.schemas import StudyRequest
from terms.documents.trait import TraitCounts
from terms.methods import method, parse_method
from terms.specs import EXTRA_SETS
from terms.values import Json, JsonObject

ABLATION = (1, 2, 3, 5, 10)
REFITS = 5
ZEROED = ("top", "pretop", "randomdims", "largest")
"""Ways to choose the dims that the cleaning ablation sets to zero."""


@dataclass(frozen=True)
class Ref:
    """A reference to the job of an earlier node."""

    node: str


Body = TypeAliasType("Body", "Json | Ref | Sequence[Body] | Mapping[str, Body]")
"""A JSON value that may contain references to jobs."""


@dataclass(frozen=True)
class Node:
    """A job of the study. `body` is the request that a user would post by hand; `warnings` say what the study left out of it."""

    name: str
    kind: str
    model: str
    trait: str | None
    body: Mapping[str, Body]
    warnings: tuple[str, ...] = ()


def plan(request: StudyRequest, layers: Mapping[str, list[int]], counts: Mapping[str, TraitCounts]) -> list[Node]:
    """Returns every job of the study in the order of submission. `layers`: the layers to steer at, by model; models without an entry are
    skipped. `counts` are by trait.
    """
    return [node for model in request.models if model in layers for node in _of_model(request, model, layers[model], counts)]


def middle(n_layers: int) -> list[int]:
    """Returns every second layer of the middle half (docs/science.md, 2.4, its layers floor(L/4) to ceil(3L/4)-1)."""
    return list(range(n_layers // 4, -(-3 * n_layers // 4), 2))


def method_keys(request: StudyRequest) -> list[str]:
    """Returns the methods' keys, including those of the cleaning ablation. Raises UnknownMethod."""
    asked = [_key(name_or_spec) for name_or_spec in request.methods]
    bases, counts = ablation(request)
    ablated = [f"{base}_{way}{n}" for base in bases for n in counts for way in ZEROED]
    return list(dict.fromkeys([*asked, *ablated]))


def ablation(request: StudyRequest) -> tuple[list[str], Sequence[int]]:
    """Returns the base methods of the cleaning ablation, and the numbers of dims it sets to zero. Raises UnknownMethod."""
    asked = [_key(name_or_spec) for name_or_spec in request.methods]
    bases = [base for base in ("mean_diff", "probe") if any(parse_method(key).base == base for key in asked)]
    return bases, request.ablation if request.ablation is not None else (ABLATION if request.evidence == "full" else ())


def _key(name_or_spec: str | JsonObject) -> str:
    if isinstance(name_or_spec, str):
        return parse_method(name_or_spec).key
    parameters = dict(name_or_spec)
    return method(str(parameters.pop("method", "")), parameters).key


def _of_model(request: StudyRequest, model: str, layers: list[int], counts: Mapping[str, TraitCounts]) -> Iterator[Node]:
    calibration = f"calibrate/{model}"
    yield Node(calibration, "calibrate", model, None, {"model": model, "max_new_tokens": request.calibration_new_tokens})
    for trait in request.traits:
        yield _extraction(request, model, trait, layers, Ref(calibration))
    for trait in request.traits:
        yield _steering(request, model, trait, Ref(calibration), counts[trait])


def _extraction(request: StudyRequest, model: str, trait: str, layers: list[int], calibration: Ref) -> Node:
    refits = request.refits if request.refits is not None else (REFITS if request.evidence == "full" else 0)
    return Node(
        f"extract/{model}/{trait}",
        "extract",
        model,
        trait,
        {
            "model": model,
            "trait": trait,
            "methods": method_keys(request),
            "positions": request.positions,
            "components": request.components,
            "layers": layers,
            "calibration": calibration,
            "control_vectors": max(request.controls.random, request.controls.shuffled),
            "refits": refits,
            "resamples": request.resamples,
            "seed": request.seed,
        },
    )


def _steering(request: StudyRequest, model: str, trait: str, calibration: Ref, counts: TraitCounts) -> Node:
    full = request.evidence == "full"
    others = [other for other in request.traits if other != trait] if full else []
    missing = [name for name in EXTRA_SETS if full and counts[name] == 0]
    return Node(
        f"steer/{model}/{trait}",
        "steer",
        model,
        trait,
        {
            "model": model,
            "trait": trait,
            "extraction": Ref(f"extract/{model}/{trait}"),
            "methods": method_keys(request),
            "calibration": calibration,
            "budget": request.budget,
            "max_new_tokens": request.max_new_tokens,
            "selection_limit": request.selection_limit,
            "test_limit": request.test_limit,
            "judge": request.judge,
            "coherence_threshold": request.coherence_threshold,
            "controls": request.controls.model_dump(),
            "extra_sets": [name for name in EXTRA_SETS if name not in missing] if full else [],
            "capability": [asked.model_dump(exclude_none=True) for asked in request.capability] if request.capability else None,
            "matched": request.matched,
            "reference_protocol": request.reference_protocol,
            "off_target": [{"trait": other, "extraction": Ref(f"extract/{model}/{other}")} for other in others],
            "seed": request.seed,
        },
        tuple(f"{trait}: no {name} question, so the study leaves this set out of its evidence." for name in missing),
    )


def resolved(body: Mapping[str, Body], jobs: Mapping[str, str]) -> JsonObject:
    """Returns the body with every Ref replaced by its job's id, and without fields that are None."""
    return {name: _resolved(value, jobs) for name, value in body.items() if value is not None}


def _resolved(value: Body, jobs: Mapping[str, str]) -> Json:
    if isinstance(value, Ref):
        return jobs[value.node]
    if isinstance(value, Mapping):
        return {name: _resolved(field, jobs) for name, field in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_resolved(entry, jobs) for entry in value]
    return value
