"""Python's collector of cycles, held still while modules are imported.

What is imported stays for good. The collector would look through all of it again and again meanwhile, which takes a fifth of the time of a
process that imports torch, and of one that serves the API.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def still(*, keep: bool = False) -> Iterator[None]:
    """Within the block nothing is collected; blocks may be nested, and a collector that was off before stays so.

    keep: the collector never looks at what is there at the end. That is for the start of a process, and for the first import of a module:
    garbage that is there at that time stays too.
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
