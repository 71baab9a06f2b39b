"""First principal direction of paired differences, not centred.

    v = top right-singular vector of the matrix with the rows p_i - n_i, over pairs

With centring, it would find the direction in which the differences vary, which on a model with a massive dimension is that dimension's noise.
Examples of one cluster and rank are pairs; the rest are paired by seed. The sign is that of the class difference. Source: RepE (Zou et al.
2023), LAT.
"""

import numpy as np

from workers.science.degenerate import ClassesCoincide
from workers.science.directions.base import Fit, Labelled, Parameters, register, signed
from workers.science.resampling import pairs
from workers.science.threads import one_thread


@register("pca")
def pca(data: Labelled, parameters: Parameters) -> Fit:
    """Fits the method. The vector's norm is the singular value. Raises ClassesCoincide."""
    paired = list(pairs(data.examples, data.positive_N, data.counts_N, int(parameters["seed"])))
    positive, negative = (list(side) for side in zip(*paired, strict=True))
    differences_ND = data.rows_ND[positive] - data.rows_ND[negative]
    with one_thread():
        _, values, right = np.linalg.svd(differences_ND, full_matrices=False)
    if values[0] == 0:
        raise ClassesCoincide("Every pair's difference is zero: the prompts of the two classes are the same.")
    explained = float(values[0] ** 2 / (values**2).sum())
    return Fit(signed(right[0] * values[0], data, data.rows_ND), {"pairs": len(paired), "explained": explained})
