"""Linear discriminant with shrinkage.

    v = S^-1 (mean_p - mean_n),  S = (1 - s) W + s tr(W)/D I,  W the pooled within-class covariance

s is Ledoit and Wolf's (2004) shrinkage of the centred rows, with each distinct row counted once, because repeated rows add no evidence. With
more dimensions than rows S is inverted by Woodbury's identity, in as many dimensions as there are rows.
"""

import numpy as np
from sklearn.covariance import ledoit_wolf_shrinkage

from workers.science.degenerate import TooFewRows
from workers.science.directions.base import Fit, Labelled, Parameters, register
from workers.science.threads import one_thread


@register("lda")
def lda(data: Labelled, _parameters: Parameters) -> Fit:
    """Fits the method. Raises TooFewRows with fewer than three distinct rows, ClassesCoincide."""
    delta_D = data.difference(data.rows_ND)
    used = data.counts_N > 0
    positive_D, negative_D = data.class_means(data.rows_ND)
    centred_ND = data.rows_ND[used] - np.where(data.positive_N[used][:, None], positive_D, negative_D)
    _, distinct = np.unique(centred_ND, axis=0, return_index=True)
    if len(distinct) < 3:
        raise TooFewRows(
            f"lda cannot compute a covariance from {len(distinct)} distinct rows; give more examples, or leave lda out."
        )
    weights_N = data.counts_N[used] / data.counts_N[used].sum()
    with one_thread():
        shrinkage = float(ledoit_wolf_shrinkage(centred_ND[np.sort(distinct)], assume_centered=True))
        width = centred_ND.shape[1]
        ridge = shrinkage * float(weights_N @ np.einsum("nd,nd->n", centred_ND, centred_ND)) / width
        half_ND = np.sqrt((1 - shrinkage) * weights_N)[:, None] * centred_ND
        if ridge == 0:  # no variance, or no shrinkage: the plain pseudo-inverse
            vector_D = np.linalg.lstsq(half_ND.T @ half_ND, delta_D, rcond=None)[0]
        else:
            inner_NN = ridge * np.eye(len(half_ND)) + half_ND @ half_ND.T
            vector_D = (delta_D - half_ND.T @ np.linalg.solve(inner_NN, half_ND @ delta_D)) / ridge
    return Fit(vector_D, {"shrinkage": shrinkage})
