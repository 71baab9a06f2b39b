"""Loads vectors as arrays of numbers."""

from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from binnacle.connection import Connection
from binnacle.downloads import download


def load(connection: Connection, vector: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Returns the numbers of a vector by its id: a unit vector, [D]."""
    with TemporaryDirectory() as folder:
        path = download(connection, vector, f"{folder}/", file_format="npy")
        return np.asarray(np.load(path), dtype=np.float32).reshape(-1)
