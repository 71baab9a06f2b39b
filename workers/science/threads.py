"""Limits linear algebra to one BLAS and OpenMP thread: faster on small matrices, and sums have the same order
whatever the number of cores. Processors of another kind may still differ in the last bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401 - loads the BLAS library to be limited
import sklearn.linear_model  # noqa: F401 - loads scikit-learn's OpenMP
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # cached: finding the libraries takes 9 ms, setting them 0.07 ms


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits numpy, scipy and scikit-learn to one thread within the block; blocks may be nested."""
    with _controller().limit(limits=1):
        yield
