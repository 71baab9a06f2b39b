"""Vectors as arrays of numbers; the only part of the client that needs numpy and, for .pt files, torch."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from binnacle.connection import Connection
from binnacle.downloads import download
from binnacle.errors import BinnacleError


def load(connection: Connection, vector: str) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The numbers of a vector by its id: a unit vector, [D]."""
    with TemporaryDirectory() as folder:
        path = download(connection, vector, f"{folder}/", file_format="npy")
        return np.asarray(np.load(path), dtype=np.float32).reshape(-1)


def converted(file: Path) -> tuple[str, bytes]:
    """A .pt file as a file that the service reads: a tensor as .npy, a dictionary of tensors as safetensors under the same names.

    Only tensors are read, never other pickled objects. Raises BinnacleError without torch, and for a file that holds anything else.
    """
    try:
        import torch
    except ImportError as error:
        raise BinnacleError(
            "needs_torch",
            f"Reading {file.name} needs torch, which is not installed here. Install it: pip install 'binnacle-interp-client[pt]'",
        ) from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for files that are damaged or hold code
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BinnacleError("bad_pt", f"{file} cannot be read as tensors: {reason}") from error
    if isinstance(found, torch.Tensor):
        with TemporaryDirectory() as folder:
            path = Path(folder) / "vector.npy"
            np.save(path, found.float().numpy())
            return f"{file.stem}.npy", path.read_bytes()
    if not isinstance(found, dict) or not found or not all(isinstance(one, torch.Tensor) for one in found.values()):
        raise BinnacleError("bad_pt", f"{file} holds neither a tensor nor a dictionary of tensors.")
    from safetensors.numpy import save

    return f"{file.stem}.safetensors", save({str(name): one.float().numpy() for name, one in found.items()})
