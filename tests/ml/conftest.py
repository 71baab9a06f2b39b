"""Models for the model-side tests: tiny ones made once per session, and the pretrained one where the environment names its folder.

Torch is imported inside the fixtures, so that the tests of formulas and rules run without it (`make quick`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workers.lm.model import LanguageModel


def pytest_collection_finish() -> None:
    """Keeps torch on one thread where a file has imported it: for small matrices a second one costs more than it brings."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_folder(arch, **options) -> the folder of a tiny model, made once per session. Do not change it: copy it first."""
    from tests.ml.tiny_models import tiny_model_folder

    base = tmp_path_factory.mktemp("tiny")
    return lambda arch="llama", **options: tiny_model_folder(base, arch, **options)


@pytest.fixture(scope="session")
def _loaded(tiny_folder: Callable[..., Path]) -> Callable[..., LanguageModel]:
    """_loaded(arch, dtype, **options) -> a tiny model, loaded once per session."""
    from workers.lm.loading import load

    @cache
    def make(arch: str, dtype: str, **options: object) -> LanguageModel:
        return load(tiny_folder(arch, **options), dtype=dtype)

    return make


@pytest.fixture
def tiny_lm(_loaded: Callable[..., LanguageModel]) -> Iterator[Callable[..., LanguageModel]]:
    """tiny_lm(arch, **options) -> a tiny model, loaded once per session and shared: no test may leave a hook on it."""
    from workers.lm.capture import assert_no_hooks

    used: list[LanguageModel] = []

    def get(arch: str = "llama", dtype: str = "float32", **options: object) -> LanguageModel:
        used.append(_loaded(arch, dtype, **options))
        return used[-1]

    yield get
    for lm in used:
        assert_no_hooks(lm.model)


@pytest.fixture(scope="session")
def pretrained_folder() -> Path:
    """The pretrained test model's folder; skips where BINNACLE_TEST_MODELS names none."""
    folder = Path(os.environ.get("BINNACLE_TEST_MODELS", "")) / "tinystories-656k"
    if not os.environ.get("BINNACLE_TEST_MODELS") or not folder.is_dir():
        pytest.skip("BINNACLE_TEST_MODELS names no folder with tinystories-656k")
    return folder


@pytest.fixture(scope="session")
def pretrained(pretrained_folder: Path) -> LanguageModel:
    from workers.lm.loading import load

    return load(pretrained_folder)
