"""Small linear algebra on numpy arrays in float64. Shapes: K vectors, N rows, D hidden size. Independent of methods and layers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


def norms(vectors_KD: Float) -> Float:
    """The L2 norm of each row, [K]."""
    return np.asarray(np.sqrt(np.einsum("kd,kd->k", vectors_KD, vectors_KD)))


def scaled(vectors_KD: Float) -> Float:
    """Scales each row to norm 1; a row that is zero or not finite becomes NaN."""
    size_K = norms(vectors_KD)
    size_K[~((size_K > 0) & np.isfinite(size_K))] = np.nan
    return vectors_KD / size_K[:, None]


def without(vectors_KD: Float, dims: Sequence[int]) -> Float:
    """A copy with these dims set to 0; not renormalised."""
    out = vectors_KD.copy()
    out[:, list(dims)] = 0.0
    return out


def factor(gram_NN: Float) -> Float:
    """A factor Z [N, N] with Z Z' = gram: coordinates of rows with the inner products in `gram`, in as many dims as there are rows.

    Uses Cholesky where it exists; else (duplicate rows) the eigenvalues, with negative ones from rounding set to 0.
    """
    try:
        return np.asarray(np.linalg.cholesky(gram_NN))
    except np.linalg.LinAlgError:
        values_N, vectors_NN = np.linalg.eigh(gram_NN)
        return np.asarray(vectors_NN * np.sqrt(np.maximum(values_N, 0.0)))
