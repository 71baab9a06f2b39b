"""Plans a study as a graph of ordinary requests, without a database: the requests, their order, and their references.

    calibrate/<model>  ->  extract/<model>/<trait>, ...  ->  steer/<model>/<trait>, ...

A body may contain `Ref(node)`, which is replaced by the id of that node's job at submission. Nodes are ordered by model, so that a worker
loads each model once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.studies.schemas import StudyRequest
from terms.methods import method, parse_method
from terms.values import Json, JsonObject

ABLATION = (1, 2, 3, 5, 10)
REFITS = 5


@dataclass(frozen=True)
class Ref:
    """A reference to the job of an earlier node."""

    node: str


@dataclass(frozen=True)
class Node:
    """A job of the study. `body` is the request that a user would post by hand."""

    name: str
    kind: str
    model: str
    trait: str | None
    body: JsonObject


def plan(request: StudyRequest, layers: Mapping[str, list[int]]) -> list[Node]:
    """Returns every job of the study in the order of submission. `layers`: the layers to steer at, by model; models without an entry are
    skipped.
    """
    return [node for model in request.models if model in layers for node in _of_model(request, model, layers[model])]


def middle(n_layers: int) -> list[int]:
    """Returns every second layer of the middle half (docs/science.md, 2.4, its layers floor(L/4) to ceil(3L/4)-1)."""
    return list(range(n_layers // 4, -(-3 * n_layers // 4), 2))


def method_keys(request: StudyRequest) -> list[str]:
    """Returns the methods' keys, including those of the cleaning ablation. Raises UnknownMethod."""
    asked = [_key(one) for one in request.methods]
    bases = [base for base in ("mean_diff", "probe") if any(parse_method(key).base == base for key in asked)]
    counts = request.ablation if request.ablation is not None else (ABLATION if request.evidence == "full" else ())
    ablated = [f"{base}_{suffix}{n}" for base in bases for n in counts for suffix in ("top", "pretop", "randomdims", "largest")]
    return list(dict.fromkeys([*asked, *ablated]))


def _key(one: str | JsonObject) -> str:
    if isinstance(one, str):
        return parse_method(one).key
    parameters = dict(one)
    return method(str(parameters.pop("method", "")), parameters).key


def _of_model(request: StudyRequest, model: str, layers: list[int]) -> Iterator[Node]:
    calibration = f"calibrate/{model}"
    yield Node(calibration, "calibrate", model, None, {"model": model, "max_new_tokens": request.calibration_new_tokens})
    for trait in request.traits:
        yield _extraction(request, model, trait, layers, Ref(calibration))
    for trait in request.traits:
        yield _steering(request, model, trait, Ref(calibration))


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


def _steering(request: StudyRequest, model: str, trait: str, calibration: Ref) -> Node:
    others = [one for one in request.traits if one != trait] if request.evidence == "full" else []
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
            "extra_sets": ["paraphrases", "unrelated"] if request.evidence == "full" else [],
            "capability": [one.model_dump(exclude_none=True) for one in request.capability] if request.capability else None,
            "matched": request.matched,
            "reference_protocol": request.reference_protocol,
            "off_target": [{"trait": one, "extraction": Ref(f"extract/{model}/{one}")} for one in others],
            "seed": request.seed,
        },
    )


def resolved(body: JsonObject, jobs: Mapping[str, str]) -> JsonObject:
    """Returns the body with every Ref replaced by its job's id, and without fields that are None."""
    return {name: _resolved(value, jobs) for name, value in body.items() if value is not None}


def _resolved(value: Json | Ref, jobs: Mapping[str, str]) -> Json:
    if isinstance(value, Ref):
        return jobs[value.node]
    if isinstance(value, Mapping):
        return {name: _resolved(one, jobs) for name, one in value.items()}
    return [_resolved(one, jobs) for one in value] if isinstance(value, list) else value
