"""Small linear algebra on numpy arrays in float64. Shapes: K vectors, N rows, D hidden size. Knows neither methods nor layers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]


def norms(vectors_KD: Float) -> Float:
    """[K] the L2 norm of each row."""
    return np.asarray(np.sqrt(np.einsum("kd,kd->k", vectors_KD, vectors_KD)))


def scaled(vectors_KD: Float) -> Float:
    """Each row at norm 1; a row that is zero or not finite comes out as NaN."""
    size_K = norms(vectors_KD)
    size_K[~((size_K > 0) & np.isfinite(size_K))] = np.nan
    return vectors_KD / size_K[:, None]


def without(vectors_KD: Float, dims: Sequence[int]) -> Float:
    """A copy with these dims set to 0; not renormalised."""
    out = vectors_KD.copy()
    out[:, list(dims)] = 0.0
    return out


def cosines(vectors_KD: NDArray[np.floating], dims: Sequence[int] = ()) -> Float:
    """[K, K] the cosine of each vector with each, in float64, after setting `dims` to 0 in all of them.

    Symmetric to the last bit, exactly 1 on the diagonal; NaN in the row and column of a vector of which nothing is left.
    """
    unit_KD = scaled(without(np.asarray(vectors_KD, dtype=np.float64), dims))
    product = unit_KD @ unit_KD.T
    product = np.clip((product + product.T) / 2, -1.0, 1.0)
    product[np.diag_indices_from(product)] = np.where(np.isnan(unit_KD).any(1), np.nan, 1.0)
    return product


def factor(gram_NN: Float) -> Float:
    """[N, N] a factor Z with Z Z' = gram: coordinates of rows whose inner products `gram` holds, in as many dims as there are rows.

    Cholesky where it exists; else (duplicate rows) from the eigenvalues, the negative ones of rounding taken as 0.
    """
    try:
        return np.asarray(np.linalg.cholesky(gram_NN))
    except np.linalg.LinAlgError:
        values_N, vectors_NN = np.linalg.eigh(gram_NN)
        return np.asarray(vectors_NN * np.sqrt(np.maximum(values_N, 0.0)))
