"""lm-evaluation-harness' `steered` model scores as the steered model does here: a vector of an extraction on SmolLM2, written by the client.

The harness runs in this process, on the model's own folder and on the file that `client.write_steered` writes. It sees texts and cuts them into
tokens by itself; ours are given those tokens, and the sums of their log-probabilities are compared.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.numpy import load as load_safetensors

from app.traits import files
from app.traits.dataset import build
from binnacle import steered
from binnacle.pickled import converted
from shipped import trait_folder
from tests.ml.fake_context import FakeContext
from tests.real.models import HARNESS_FOLDER, SMOLLM2, reason_missing
from workers.handlers import extraction
from workers.lm.hooks import hooked
from workers.lm.interventions import Push
from workers.lm.likelihood import mean_log_likelihoods
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.site_actions import VectorBank, actions_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

TRAIT, LAYER, PAIRS = "chat-refusal", 12, 4
COEFFICIENT = -12.5
AGREES = 1e-4
"""The largest difference of two sums over an answer's tokens, in nats."""
LEFT_OUT = ("steering_coefficient", "action", "head_index", "bias")
"""Entries of the harness' file that reading it back leaves out."""
ASKED = (
    ("What is the capital of France?", " Paris."),
    ("Name three fruits, one per line.", "Apples\nPears\nPlums"),
    ("Why is the sky blue?", "I cannot help with that."),
)


@pytest.fixture(scope="module")
def harness() -> Any:
    """The harness' module of `steered` models."""
    if not HARNESS_FOLDER.is_dir():
        pytest.skip(f"NOT RUN: lm_eval was not fetched ({reason_missing(HARNESS_FOLDER)})")
    sys.path.append(str(HARNESS_FOLDER))
    from lm_eval.models import hf_steered

    return hf_steered


@pytest.fixture(scope="module")
def vector(smollm2: LanguageModel) -> Any:
    """mean_diff of a few responses of each class of a shipped trait, [D], as an extraction stores it."""
    folder = files.read(TRAIT, {path.name: path.read_bytes() for path in sorted(trait_folder(TRAIT).iterdir())})
    made = build(folder.request, folder.notes)
    dataset = json.loads(made.data)
    small = dataset | {name: dataset[name][:PAIRS] for name in ("positive", "negative")}
    context = FakeContext(smollm2, blobs={made.version: json.dumps(small).encode()})
    outcome = extraction.run(
        {
            "kind": "extract",
            "model": "smollm2",
            "weight_hash": smollm2.facts.weight_hash,
            "trait": {"name": made.name, "version": made.version},
            "positions": ["response[:5]"],
            "components": ["residual"],
            "layers": [LAYER],
            "methods": ["mean_diff"],
            "controls": [],
            "refits": [],
            "calibration": None,
            "responses": "generate",
            "max_new_tokens": 5,
            "validation_share": 0.0,
            "seed": 0,
            "resamples": 0,
            "keep_rows": False,
            "vetting": None,
            "rows_from": None,
            "rows_key": None,
        },
        context,
    )
    [data] = [one.data for one in outcome.artifacts if one.name == "vectors.safetensors"]
    assert isinstance(data, bytes)
    [found] = load_safetensors(data).values()
    return found


def here(lm: LanguageModel, vector: Any, coefficient: float, prompt: list[int], answer: list[int]) -> float:
    """The answer's summed log-likelihood under the push, by the engine's own hooks; unsteered where the coefficient is 0."""
    pushes = () if not coefficient else (Push(LAYER, "residual", torch.tensor(vector), coefficient, "add", "all"),)
    bank = VectorBank(lm, list(pushes))
    with hooked(lm, {(LAYER, "residual")}) as hooks, hooks.during(actions_for(lm, bank, [pushes], ["prompt"])):
        [mean] = mean_log_likelihoods(lm, [prompt], [answer], batch_rows=1)
        assert not pushes or hooks.fired == {(LAYER, "residual")}
    return mean * len(answer)


def test_its_log_likelihoods_are_ours(harness: Any, smollm2: LanguageModel, vector: Any, tmp_path: Path) -> None:
    """Of answers to prompts in the chat template; it is the vector that makes the difference, and the file can be read back."""
    file = steered.write(vector, tmp_path / "steer.pt", layer=LAYER, component="residual", coefficient=COEFFICIENT)
    prompts = [encode_prompt(smollm2, question) for question, _ in ASKED]
    said = [(smollm2.tokenizer.decode(prompt), answer) for prompt, (_, answer) in zip(prompts, ASKED, strict=True)]
    theirs = harness.SteeredModel(str(SMOLLM2.folder), str(file), device="cpu", dtype="float32", batch_size=2)
    pairs = [theirs._encode_pair(*one) for one in said]
    whole = [[*prompt, *answer] for prompt, answer in pairs]  # it counts a prompt's last line break as the answer's
    assert [ids[: len(prompt)] for ids, prompt in zip(whole, prompts, strict=True)] == prompts
    scores = theirs.loglikelihood([SimpleNamespace(args=one) for one in said], disable_tqdm=True)
    assert [score for score, _ in scores] == pytest.approx(
        [here(smollm2, vector, COEFFICIENT, *one) for one in pairs], abs=AGREES
    )
    unsteered = [here(smollm2, vector, 0.0, *one) for one in pairs]
    assert min(abs(score - other) for (score, _), other in zip(scores, unsteered, strict=True)) > 1000 * AGREES
    name = f"layers.{LAYER}"
    assert converted(file).notes == [f"Left out: {', '.join(f'{name}.{one}' for one in LEFT_OUT)}."]
    with pytest.raises(ValueError, match="Not all hookpoints could be resolved"), harness.steer(theirs.model, {"h.12": None}):
        pass
