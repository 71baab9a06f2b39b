"""What tests of steering jobs share: a shipped model, its calibration and extraction (made once in a process), specs and contexts."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from shipped import model_folder
from tests.judges.fitted_once import fitted_once
from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import TRAIT, context_of, files, spec_of
from workers.handlers import calibration, extraction, steering
from workers.lm.capture import assert_no_hooks
from workers.lm.loading import load
from workers.lm.model import LanguageModel

Files = dict[tuple[str, str], bytes]
FEW = {"selection_limit": 4, "test_limit": 8}
"""Few questions, for jobs in tests that do not measure the effect."""
NO_CONTROLS = {"random": 0, "shuffled": 0, "prompt_only": False}


@pytest.fixture(scope="module", autouse=True)
def _fitted_once() -> Iterator[None]:
    """Fits the judge once per module: most jobs need the same one, and fitting takes most of their time. A module that imports this has it."""
    with fitted_once():
        yield


loaded = cache(load)
"""Loads a model once in a process, for all modules that import these fixtures."""


@pytest.fixture(scope="module")
def severe() -> Iterator[LanguageModel]:
    lm = loaded(model_folder("demo-severe"))
    yield lm
    assert_no_hooks(lm.model)


@pytest.fixture(scope="module")
def extracted(severe: LanguageModel) -> Files:
    return extraction_of(severe)


@cache
def extraction_of(severe: LanguageModel) -> Files:
    """The files of a calibration and of an extraction, made once in a process: copy them before changing them."""
    spec = {
        "model": "demo-severe", "weight_hash": severe.facts.weight_hash, "experiment": "calibration", "prompts": None, "layers": None,
        "max_new_tokens": 32, "rule": "peeling",
    }  # fmt: skip
    calibrated = calibration.run(spec, FakeContext(severe)).artifacts[0].data
    assert isinstance(calibrated, bytes)
    extract = spec_of(
        severe,
        layers=[2, 3],
        methods=["mean_diff", "mean_diff_cleaned", "probe"],
        controls=["shuffled__of-probe__seed1"],
        refits=[],
        max_new_tokens=24,
    )
    outcome = files(extraction.run(extract, context_of(severe, calibrated)))
    return {("job_cal", "calibration.json"): calibrated, **{("job_ext", name): data for name, data in outcome.items()}}


def steer_spec(lm: LanguageModel, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "steer",
        "model": "demo-severe",
        "weight_hash": lm.facts.weight_hash,
        "trait": {"name": "refusal", "version": TRAIT.version},
        "vectors": [],
        "from": [
            {
                "job": "job_ext",
                "methods": ["mean_diff", "mean_diff_cleaned", "probe"],
                "layers": [3],
                "positions": None,
                "components": None,
            }
        ],
        "combine": False,
        "calibration": {"job": "job_cal"},
        "extraction": "job_ext",
        "operation": "add",
        "ablate_plain": False,
        "scope": "all",
        "doses": [0.3, 0.7],
        "coefficients": None,
        "budget": 3,
        "questions": None,
        "selection_limit": 6,
        "test_limit": 22,
        "max_new_tokens": 24,
        "sampling": None,
        "judge": {"name": "reference", "kind": "reference", "model": None, "url": None, "key_env": None, "options": {}},
        "coherence_threshold": 70,
        "controls": {"random": 1, "shuffled": 1, "prompt_only": False},
        "matched": ["dose"],
        "decomposition": True,
        "extra_sets": [],
        "seed": 0,
    } | changes


def context(lm: LanguageModel, extracted: Files, **options: Any) -> FakeContext:
    return FakeContext(lm, blobs={TRAIT.version: TRAIT.data}, artifacts=extracted, **options)


def summary_of(lm: LanguageModel, extracted: Files, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files(steering.run(steer_spec(lm, **changes), context(lm, extracted)))["summary.json"])
    return found
