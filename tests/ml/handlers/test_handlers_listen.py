"""No handler makes more than two passes through the model between two checks whether it must stop."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from app.formats.tensorfile import to_bytes
from tests.judges.endpoint import rating, serving
from tests.ml.calibrating import spec as calibrate_spec
from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import TRAIT
from tests.ml.handlers.test_extraction_handler import spec_of as extract_spec
from tests.ml.steering_jobs import steer_spec
from tests.ml.tiny_models import Planted
from workers.handlers import calibration, extraction, generation, steering
from workers.lm.model import LanguageModel

SLEEP = 0.002  # seconds added to each pass
MOST_PASSES = 2
"""Passes through the model between two checks. A pass of one batch takes a few seconds on the largest models."""


class Listening(FakeContext):
    """Counts the passes between two checks: those of the job's own thread, since it can check while other threads compute."""

    def __init__(self, lm: LanguageModel, **options: Any) -> None:
        super().__init__(lm, **options)
        self.thread, self.passes, self.most = threading.get_ident(), 0, 0
        self.where = ""

    def passed(self) -> None:
        time.sleep(SLEEP)
        if threading.get_ident() == self.thread:
            self.passes += 1
            if self.passes > self.most:
                self.most, self.where = self.passes, str(self.phases[-1:])

    def phase(self, name: str, total: int, unit: str, **options: Any) -> None:
        super().phase(name, total, unit, **options)
        self.passes = 0

    def check(self) -> None:
        super().check()
        self.passes = 0

    def may_yield(self) -> None:
        super().may_yield()
        self.passes = 0

    def commit_cell(self, name: str, data: bytes) -> None:
        super().commit_cell(name, data)
        self.check()  # the service's context asks here whether the job was cancelled


@contextmanager
def slowed(context: Listening) -> Iterator[Listening]:
    """Makes each pass of the context's model sleep and count."""
    handle = context.lm.layout.site(0, "mlp_out").register_forward_hook(lambda *_: context.passed())
    try:
        yield context
    finally:
        handle.remove()


@pytest.fixture
def lm(tiny_lm: Callable[..., LanguageModel]) -> LanguageModel:
    return tiny_lm("llama", planted=(Planted(17, 900.0, "every_token", 0.3),))


@pytest.fixture
def calibrated(lm: LanguageModel) -> bytes:
    data = calibration.run(calibrate_spec(), FakeContext(lm)).artifacts[0].data
    assert isinstance(data, bytes)
    return data


def vectors(lm: LanguageModel) -> tuple[list[dict[str, Any]], bytes]:
    """A vector of the residual stream and one of the keys: (their entries in a spec, the file that holds them)."""
    named, tensors = [], {}
    for component in ("residual", "k_proj"):
        numbers = np.random.default_rng(0).standard_normal(lm.layout.width(component)).astype(np.float32)
        key = f"response[:5]/{component}/probe/1"
        tensors[key] = numbers / np.linalg.norm(numbers)
        named.append(
            {"digest": "v", "key": key, "component": component, "method": "probe", "layer": 1, "id": component, "facts": None}
        )
    return named, to_bytes(tensors, {})


def questions_of(count: int, mark: str) -> list[dict[str, Any]]:
    return [{"question": f"{mark}{number} ?", "cluster": f"{mark}{number}"} for number in range(count)]


def run_calibrate(lm: LanguageModel, _calibrated: bytes) -> Listening:
    with slowed(Listening(lm)) as context:
        calibration.run(calibrate_spec(rule="all"), context)
    return context


def run_extract(lm: LanguageModel, calibrated: bytes) -> Listening:
    rows = [{"prompt": f"say {n}", "cluster": f"c{n}"} for n in range(12)]
    trait = json.loads(TRAIT.data) | {"positive": rows, "negative": [{**row, "prompt": row["prompt"] + "?"} for row in rows]}
    context = Listening(
        lm, blobs={TRAIT.version: json.dumps(trait).encode()}, artifacts={("job_cal", "calibration.json"): calibrated}
    )
    with slowed(context):
        spec = extract_spec(lm, components=["residual", "k_proj"], methods=["mean_diff"], controls=[], refits=[])
        extraction.run(spec, context)
    return context


def run_steer(lm: LanguageModel, calibrated: bytes) -> Listening:
    named, data = vectors(lm)
    context = Listening(lm, blobs={TRAIT.version: TRAIT.data, "v": data}, artifacts={("job_cal", "calibration.json"): calibrated})
    with serving(lambda request, _before: rating(request)) as endpoint, slowed(context):
        judge = {"name": "house", "kind": "openai", "model": "j", "url": endpoint.url, "key_env": None, "options": {}}
        questions = {"selection": questions_of(12, "s"), "test": questions_of(6, "t")}
        spec = steer_spec(lm, vectors=named, judge=judge, questions=questions, extraction=None, max_new_tokens=4, test_limit=None)
        spec |= {"from": None, "selection_limit": None, "matched": ["dose", "divergence"], "decomposition": False, "doses": [0.5]}
        steering.run(spec, context)
    return context


def run_generate(lm: LanguageModel, calibrated: bytes) -> Listening:
    named, data = vectors(lm)
    context = Listening(lm, blobs={"v": data}, artifacts={("job_cal", "calibration.json"): calibrated})
    spec = {
        "model": "tiny", "weight_hash": None, "prompts": [{"prompt": f"a{n} ?", "system_prompt": None} for n in range(12)], "vectors": named,
        "doses": [0.5], "coefficients": None, "operation": "add", "scope": "all", "max_new_tokens": 4, "sampling": None,
        "calibration": {"job": "job_cal"},
    }  # fmt: skip
    with slowed(context):
        generation.run(spec, context)
    return context


@pytest.mark.parametrize("run", [run_calibrate, run_extract, run_steer, run_generate])
def test_handlers_make_at_most_two_passes_between_checks(
    lm: LanguageModel, calibrated: bytes, run: Callable[[LanguageModel, bytes], Listening]
) -> None:
    context = run(lm, calibrated)
    assert 0 < context.most <= MOST_PASSES, f"{context.most} passes in {context.where}"
