"""The generation job on a shipped model: raw coefficients need no calibration, vectors in massive dims have no dose, an answer may end at its
first token, and a handler imports nothing in a warm process."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import save

from shipped import model_folder
from tests.ml.fake_context import FakeContext
from workers.handlers import generation
from workers.job import JobFault
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.steered import SteeredRow, generate_steered


def spec_of(lm: LanguageModel, **changes: Any) -> dict[str, Any]:
    vector = {
        "digest": "d",
        "key": "k",
        "component": "residual",
        "method": "mean_diff",
        "layer": 1,
        "position": None,
        "id": "vec_1",
    }
    return {
        "kind": "generate", "model": "demo-severe", "weight_hash": lm.facts.weight_hash, "vectors": [vector], "doses": None,
        "coefficients": [8.0], "prompts": [{"prompt": "describe a river .", "system_prompt": None}], "operation": "add", "scope": "all",
        "max_new_tokens": 8, "sampling": None, "calibration": {"job": "job_cal"}, **changes,
    }  # fmt: skip


def files(lm: LanguageModel, vector: torch.Tensor, *, massive: list[int]) -> dict[str, Any]:
    """The vector, and a calibration with these massive dims and a clean norm of 3 at every layer."""
    layers = range(lm.layout.n_layers)
    aggregate = {
        "clean_norms": dict.fromkeys(map(str, layers), 3.0),
        "massive_by_layer": {str(n): massive for n in layers},
        "massive_dims": {"rule": "peeling", "dims": massive},
    }
    return {
        "blobs": {"d": save({"k": vector})},
        "artifacts": {("job_cal", "calibration.json"): json.dumps({"aggregate": aggregate}).encode()},
    }


def test_a_raw_coefficient_gives_the_same_text_with_and_without_a_calibration() -> None:
    lm = load(model_folder("demo-severe"))
    about = files(lm, torch.randn(lm.layout.width("residual", 1), generator=torch.Generator().manual_seed(1)), massive=[])
    plain, known = generation.run(spec_of(lm), FakeContext(lm, **about)).result["answers"]
    same, bare = generation.run(spec_of(lm, calibration=None), FakeContext(lm, blobs=about["blobs"])).result["answers"]
    assert (same["text"], bare["text"]) == (plain["text"], known["text"])
    assert bare["text"] != plain["text"]
    assert (bare["c"], bare["r"], bare["r_raw"]) == (8.0, None, None)
    assert known["r"] is not None


def test_a_vector_that_lies_in_massive_dims_has_no_dose() -> None:
    """The raw dose was once shown as the dose: twenty times the part of the push outside the massive dims (docs/science.md, 4.2)."""
    lm = load(model_folder("demo-severe"))
    vector = torch.zeros(lm.layout.width("residual", 1))
    vector[[21, 3]] = torch.tensor([1.0, 0.05])
    about = files(lm, vector, massive=[21])
    _, known = generation.run(spec_of(lm, coefficients=[1.5]), FakeContext(lm, **about)).result["answers"]
    assert (known["c"], known["r"], known["r_raw"]) == (1.5, None, 0.5)
    for operation in ("add", "norm_match"):
        with pytest.raises(JobFault, match="vec_1 has no clean dose"):
            generation.run(spec_of(lm, coefficients=None, doses=[0.5], operation=operation), FakeContext(lm, **about))
    ablated = generation.run(spec_of(lm, coefficients=None, doses=[0.5], operation="ablate"), FakeContext(lm, **about))
    assert ablated.result["answers"][1]["r"] is None


def test_an_answer_that_ends_at_its_first_token_is_returned_and_fails_no_job() -> None:
    """A push of scope `response` changes nothing in an empty answer. If every answer is empty, nothing was steered, which is a fault."""
    lm = load(model_folder("demo-severe"))
    prompts = [{"prompt": text, "system_prompt": None} for text in ("describe a river .", "thank you .")]
    rows = [SteeredRow(encode_prompt(lm, one["prompt"], None), ()) for one in prompts]
    ends, other = (one.ids[0] for one in generate_steered(lm, rows, max_new_tokens=1, batch_rows=2))
    assert ends != other
    silent = replace(lm, eos_ids=frozenset({ends}))
    blobs = {"d": save({"k": torch.randn(lm.layout.width("residual", 1), generator=torch.Generator().manual_seed(1))})}
    context = FakeContext(silent, blobs=blobs)
    steered = generation.run(spec_of(lm, prompts=prompts, scope="response", calibration=None), context).result["answers"][2:]
    assert [(one["text"] == "", one["fires"] > 0) for one in steered] == [(True, False), (False, True)]
    with pytest.raises(JobFault, match="every answer ended at its first token"):
        generation.run(spec_of(lm, prompts=prompts[:1], scope="response", calibration=None), context)


PROGRAM = """
import sys
from workers.warm import import_models
import_models()
before = set(sys.modules)
from shipped import model_folder
from workers.lm.loading import load
lm = load(model_folder("demo-severe"))
from workers.handlers import HANDLERS, handler_for
loaded = set(sys.modules)
for kind in ("calibrate", "extract", "generate", "steer"):
    handler_for(kind)
print(sorted(set(sys.modules) - loaded))
"""


def test_a_warm_child_imports_nothing_when_a_handler_starts() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"


def test_a_multiple_of_the_tokens_norm_has_no_raw_dose() -> None:
    """It is no coefficient; divided by the norm of the stream it was shown as one."""
    lm = load(model_folder("demo-severe"))
    asked = spec_of(lm, coefficients=None, doses=[0.5], operation="norm_match")
    about = files(lm, torch.ones(lm.layout.width("residual", 1)), massive=[21])
    _, steered = generation.run(asked, FakeContext(lm, **about)).result["answers"]
    assert (steered["r"], steered["c"], steered["r_raw"]) == (0.5, 0.5, None)
