"""Fixtures of the proofs' tests: the tiny models of tests/ml, and copies of their folders to change."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ml.conftest import _loaded, pretrained, pretrained_folder, tiny_folder, tiny_lm

__all__ = ["_loaded", "pretrained", "pretrained_folder", "tiny_folder", "tiny_lm"]


@pytest.fixture
def copied(tiny_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """copied(arch, **options) -> a copy of a tiny model's folder, to be changed."""
    return lambda arch="llama", **options: shutil.copytree(tiny_folder(arch, **options), tmp_path / "model")
