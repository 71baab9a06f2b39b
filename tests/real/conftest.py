"""The pretrained models, loaded once a session. Skipped, with the reason, only where the package index could not be reached."""

from pathlib import Path

import pytest

from tests.real.models import GEMMA3, SMOLLM2, Real, reason_missing
from workers.lm.loading import load
from workers.lm.model import LanguageModel


def available(model: Real) -> Path:
    """The model's folder; skips where it was not fetched."""
    if not model.folder.is_dir():
        pytest.skip(f"NOT RUN: {model.name} was not fetched ({reason_missing(model.folder)})")
    return model.folder


def loaded(model: Real) -> LanguageModel:
    """The model in float32 on the CPU."""
    return load(available(model))


@pytest.fixture(scope="session")
def smollm2() -> LanguageModel:
    """SmolLM2-135M-Instruct, dequantised from Q4_1."""
    return loaded(SMOLLM2)


@pytest.fixture(scope="session")
def gemma3() -> LanguageModel:
    """Gemma 3 270M, dequantised from Q4_K_M."""
    return loaded(GEMMA3)
