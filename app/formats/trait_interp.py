"""trait-interp's folder of one extraction: where each file lies and what its metadata.json files hold. Workers write the tensors.

    vectors/{position}/{component}/{method}/layer{N}.pt     a tensor [D], unit length, read by torch.load(weights_only=True)
    vectors/{position}/{component}/{method}/metadata.json   model, trait, method, component, position, layers{N: norm, baseline, ...}
    responses/pos.json  responses/neg.json                  the answers that the vectors were made of

Unpack it as `experiments/{experiment}/extraction/{category}/{trait}/{model variant}/`. Layer N is the output of block N there as here. Its
metadata also hold a time, which artifacts never do; the responses lack `full_text`, the formatted prompt, which extractions do not keep.
"""

from collections.abc import Iterable, Sequence

from app.formats.vectors import NamedVector, Origin
from terms.documents.extraction import RespondedLine, VectorFacts
from terms.values import JsonObject


def folder(position: str, component: str, method: str) -> str:
    """Returns the vectors' folder; there, `response[:5]` is written `response__5` and `response[:]` `response_all`."""
    safe = position.replace("[:]", "_all").replace("[", "_").replace("]", "").replace(":", "_")
    return f"vectors/{safe}/{component}/{method}"


def tensor_path(vector: NamedVector) -> str:
    """Returns the path of the vector's tensor."""
    return f"{folder(vector.position or 'none', vector.component or '', vector.method or '')}/layer{vector.layer}.pt"


def metadata(facts: Sequence[VectorFacts], origin: Origin) -> dict[str, JsonObject]:
    """Returns the metadata.json of every folder, by path, from the facts of its vectors (`extraction.json`)."""
    files: dict[str, JsonObject] = {}
    layers: dict[str, dict[str, JsonObject]] = {}
    for vector_facts in sorted(facts, key=lambda vector_facts: vector_facts["layer"]):
        place = {"method": vector_facts["method"], "component": vector_facts["component"], "position": vector_facts["position"]}
        path = f"{folder(**place)}/metadata.json"
        layers.setdefault(path, {})[str(vector_facts["layer"])] = _layer(vector_facts)
        files.setdefault(
            path,
            {"model": origin.model, "trait": origin.trait, **place, "layers": layers[path], "input_hashes": _hashes(origin)},
        )
    return files


def _layer(facts: VectorFacts) -> JsonObject:
    fit = facts.get("fit") or {}
    further = {"bias": fit.get("bias"), "train_acc": fit.get("train_accuracy")}
    return {
        "norm": facts.get("norm"),
        "baseline": facts.get("baseline"),
        **{name: value for name, value in further.items() if value is not None},
    }


def _hashes(origin: Origin) -> dict[str, str]:
    hashes = {"dataset": origin.trait_version, "weights": origin.weight_hash}
    return {name: value for name, value in hashes.items() if value}


def responses(lines: Iterable[RespondedLine]) -> dict[str, list[JsonObject]]:
    """Returns both files of answers, by path, from the lines of `responses.jsonl`; those that vetting dropped are left out."""
    files: dict[str, list[JsonObject]] = {"responses/pos.json": [], "responses/neg.json": []}
    for line in lines:
        if line.get("kept", True):
            path = "responses/pos.json" if line["class"] == "positive" else "responses/neg.json"
            files[path].append(
                {
                    "scenario_idx": line["index"],
                    "rollout_idx": 0,
                    "prompt": line["prompt"],
                    "system_prompt": line.get("system_prompt"),
                    "response": line["response"],
                    "response_token_count": len(line.get("response_ids") or []),
                }
            )
    return files
