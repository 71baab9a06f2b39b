"""The artifacts that an `extract` job leaves, with random vectors."""

import json

from app.formats.tensorfile import to_bytes
from tests.exports.test_formats import vector

METHODS = ["probe", "mean_diff_top1", "random__seed1"]
POSITIONS = ["response[:5]", "response[:]", "prompt[-1]"]
LAYERS = [0, 3, 10]


def keys(component: str = "residual") -> list[tuple[str, str, str, int]]:
    """Position, component, method and layer of each vector of one component."""
    return [(position, component, method, layer) for position in POSITIONS for method in METHODS for layer in LAYERS]


def extraction() -> dict[tuple[str, str], bytes]:
    """The artifacts of an `extract` job, as it writes them."""
    places = keys() + keys("k_proj")
    vectors = {"/".join(map(str, place)): vector(number, 8) for number, place in enumerate(places)}
    facts = [
        {
            "key": "/".join(map(str, place)), "position": place[0], "component": place[1], "method": place[2], "layer": place[3],
            "width": 8, "norm": 2.0 + number, "baseline": -0.5 * number,
            "fit": {"train_accuracy": 0.975, "bias": 0.125, "converged": True} if place[2] == "probe" else {},
        }
        for number, place in enumerate(places)
    ]  # fmt: skip
    lines = [
        {
            "class": name,
            "index": i,
            "prompt": f"{name} {i}",
            "system_prompt": None,
            "response": " yes",
            "response_ids": [1, 2],
            "kept": i < 2,
        }
        for name in ("positive", "negative")
        for i in range(3)
    ]
    return {
        ("job_1", "vectors.safetensors"): to_bytes(vectors, {"model": "demo"}),
        ("job_1", "extraction.json"): json.dumps({"vectors": facts}).encode(),
        ("job_1", "responses.jsonl"): "\n".join(map(json.dumps, lines)).encode(),
    }
