"""A builder of the images, shared by all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import unused_port  # noqa: F401
from tests.images.building import Builder
from tests.images.dockerfile import Ignored, copy_context, read_stages
from tests.services import make_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def builder() -> Iterator[Builder]:
    """Builds the Dockerfile's stages from what its `.dockerignore` lets in."""
    folder = make_folder()
    copy_context(ROOT, Ignored((ROOT / ".dockerignore").read_text()), folder / "context")
    yield Builder(read_stages((ROOT / "Dockerfile").read_text()), folder / "context", folder / "images")
    shutil.rmtree(folder)
