"""Pauses Python's cyclic garbage collector while modules are imported.

Imported objects stay for good, but the collector would scan them repeatedly. This takes a fifth of the start time of processes that import
torch or serve the API.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def still(*, keep: bool = False) -> Iterator[None]:
    """Returns a context in which no garbage is collected; contexts may be nested, and a collector that was off before stays off.

    `keep`: at the end, freezes all objects that exist, so that the collector never scans them. Use it at the start of a process and for the
    first import of a module; garbage that exists at that time also stays.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        if on:
            gc.enable()
