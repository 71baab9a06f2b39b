"""What the calibration tests share: specs, running the handler, and comparing its file with the reference."""

import json
from collections.abc import Sequence
from typing import Any

from tests.ml.fake_context import FakeContext
from tests.ml.reference_calibration import Reference, generate
from workers.handlers.calibration import run
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt

PROMPTS = (
    "The cat sat.",
    "Count: one, two",
    "Why is it so?",
    "List a few small things; then stop.",
    "go on now",
    "A: b, c!",
    "x",
    "Say it again (slowly).",
    "no marks here at all",
)

DECIMALS = {  # decimal places of the rounded fields of calibration.json
    "mean_alignment_by_layer": 4,
    "dim_magnitude_by_layer": 3,
    "layer_norms": 1,
    "attn_norms": 1,
    "mlp_norms": 1,
    "consecutive_cosine": 4,
    "ratio": 1,
    "cv": 3,
    "p5_ratio": 1,
    "pct_above_10x": 1,
    "location": 3,
    "norm_share": 4,
    "ratios": 3,
    "share_of_squared_norm": 4,
    "mean_alignment": 4,
}


def spec(**changed: Any) -> dict[str, Any]:
    """A calibration spec with short answers to PROMPTS."""
    return {
        "kind": "calibrate",
        "model": "tiny",
        "experiment": "calibration",
        "prompts": list(PROMPTS),
        "layers": None,
        "max_new_tokens": 16,
        "rule": "peeling",
        "weight_hash": None,
    } | changed


def calibrate_bytes(lm: LanguageModel, context: FakeContext | None = None, **changed: Any) -> bytes:
    """The artifact of one run."""
    (artifact,) = run(spec(**changed), context or FakeContext(lm)).artifacts
    assert artifact.name == "calibration.json"
    assert isinstance(artifact.data, bytes)
    return artifact.data


def calibrate(lm: LanguageModel, context: FakeContext | None = None, **changed: Any) -> dict[str, Any]:
    """The file's content."""
    content: dict[str, Any] = json.loads(calibrate_bytes(lm, context, **changed))
    return content


def reference_of(
    lm: LanguageModel,
    prompts: Sequence[str] = PROMPTS,
    max_new_tokens: int = 16,
    layers: Sequence[int] | None = None,
    modules: Any = None,
    answers: Sequence[list[int]] | None = None,
) -> Reference:
    """The naive reference on the same model. `modules(layer)` returns the (residual, attn, mlp) modules that it reads, by default those that
    the product finds; `answers`, if given, spare the naive generation and must be what it would write."""
    layers = list(range(lm.layout.n_layers)) if layers is None else layers
    names = ("residual", "attn_contribution", "mlp_contribution")
    sites = modules or (lambda layer: [lm.layout.site(layer, name) for name in names])
    found = {
        (part, layer): site for layer in layers for part, site in zip(("residual", "attn", "mlp"), sites(layer), strict=True)
    }
    encoded = [encode_prompt(lm, text) for text in prompts]
    if answers is None:
        answers = [generate(lm.model, ids, set(lm.eos_ids), max_new_tokens) for ids in encoded]
    rows = list(zip(encoded, answers, strict=True))
    return Reference(lm.model, lm.tokenizer, found, rows, lm.layout.n_layers)


def assert_agrees(found: Any, expected: Any, path: tuple[str, ...] = ()) -> None:
    """Asserts that `found` (JSON) has the keys of `expected` (unrounded) and each number to one unit of its last digit, with no more digits."""
    where = "/".join(path) or "aggregate"
    if isinstance(expected, dict):
        assert set(found) - {"thresholds"} == {str(key) for key in expected}, where
        for key, value in expected.items():
            assert_agrees(found[str(key)], value, (*path, str(key)))
    elif isinstance(expected, list | tuple) and expected and not isinstance(expected[0], int | str):
        assert len(found) == len(expected), where
        for one, other in zip(found, expected, strict=True):
            assert_agrees(one, other, path)
    elif expected is None or isinstance(expected, list | tuple | str | int):
        assert found == (list(expected) if isinstance(expected, tuple) else expected), where
    else:
        unit = _unit(path, float(expected))
        assert abs(found - expected) <= unit, f"{where}: {found} is not {expected} to {unit}"
        assert abs(found / unit - round(found / unit)) < 1e-6, f"{where}: {found} has more digits than one of {unit}"


def _unit(path: tuple[str, ...], value: float) -> float:
    """One unit of the last digit of a field: clean_norms have 4 significant digits, margin 3, the others DECIMALS."""
    for name, digits in (("clean_norms", 4), ("margin", 3)):
        if name in path:
            return float(f"1e{int(f'{value:e}'.split('e')[1]) - digits + 1}")
    places = next(DECIMALS[name] for name in reversed(path) if name in DECIMALS)
    return float(f"1e-{places}")
