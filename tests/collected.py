"""While tests are collected, and of what is there then, Python collects no cycles: modules and tests stay, however often it looks.

Some 800,000 objects are there once the suite is collected. Tests that ask for a collection get one of all that came later.
"""

import gc
from collections.abc import Generator

import pytest

from app.collector import still

YOUNG = 10_000
"""Objects made since the last collection that start one."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects nothing meanwhile, and less often from then on."""
    with still(keep=True):
        collected = yield
        import hypothesis  # noqa: F401 - it looks up who refers to what others gave it, which cannot be seen once it is kept
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    return collected
