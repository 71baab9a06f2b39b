"""Keeps Python's garbage collector off while pytest collects tests, and then away from all objects that exist by then, some 800,000.

Modules and tests stay for the whole run, so looking through them again and again only costs time. Objects made later are collected as ever.
"""

import gc
from collections.abc import Generator

import pytest

from app.collector import still

YOUNG = 10_000
"""So many new objects start a collection."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Runs the collection of tests without the garbage collector, which then starts less often."""
    with still(keep=True):
        collected = yield
        import hypothesis  # noqa: F401 - before the freeze: it calls gc.get_referrers, which skips frozen objects
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    return collected
