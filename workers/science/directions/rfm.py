"""Recursive feature machine: the direction along which a kernel machine's output changes most.

    f(x) = sum_i a_i exp(-|x - x_i|_M / L),  (K + r I) a = y;  M <- mean_i grad f(x_i) grad f(x_i)';  v = top eigenvector of M

Unit rows, labels +1 and -1, M = I at first, L the median distance, r = 1e-3. Computed in the span of the rows, which contains every gradient.
The sign is that of the class difference. Source: Radhakrishnan et al., Science 2024 (AGOP); Beaglehole et al. 2025 for steering.
"""

import numpy as np

from workers.science.directions.base import Fit, Labelled, Parameters, register, signed
from workers.science.linalg import Float, factor
from workers.science.threads import one_thread

RIDGE = 1e-3


@register("rfm")
def rfm(data: Labelled, parameters: Parameters) -> Fit:
    """Fits the method. Raises ZeroRows."""
    used = data.counts_N > 0
    unit_ND = data.unit_ND[used]
    labels_N = np.where(data.positive_N[used], 1.0, -1.0)
    weights_N = data.counts_N[used].astype(np.float64)
    with one_thread():
        place_NN = factor(unit_ND @ unit_ND.T)
        metric = np.eye(place_NN.shape[1])
        for _ in range(int(parameters["iterations"])):
            metric, accuracy = _step(place_NN, labels_N, weights_N, metric)
        top = np.linalg.eigh(metric)[1][:, -1]
        vector_D = np.linalg.lstsq(place_NN, unit_ND, rcond=None)[0].T @ top
    return Fit(signed(vector_D, data, data.unit_ND), {"iterations": int(parameters["iterations"]), "train_accuracy": accuracy})


def _step(place_NN: Float, labels_N: Float, weights_N: Float, metric: Float) -> tuple[Float, float]:
    """The next metric, scaled to the trace of the first, and the share of rows that the machine classifies correctly."""
    moved = place_NN @ metric
    inner = moved @ place_NN.T
    squares = np.diag(inner)
    distance_NN = np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * inner, 0.0))
    length = float(np.median(distance_NN[distance_NN > 0])) if (distance_NN > 0).any() else 1.0
    kernel_NN = np.exp(-distance_NN / length)
    alphas_N = np.linalg.solve(kernel_NN + np.diag(RIDGE / weights_N), labels_N)
    with np.errstate(divide="ignore"):
        pull_NN = np.where(distance_NN > 0, kernel_NN / (length * distance_NN), 0.0) * alphas_N[None]
    slopes = pull_NN @ moved - pull_NN.sum(1)[:, None] * moved
    agop = slopes.T @ (weights_N[:, None] * slopes) / weights_N.sum()
    scale = np.trace(agop)
    accuracy = float(np.average(np.sign(kernel_NN @ alphas_N) == labels_N, weights=weights_N))
    return (agop * len(agop) / scale if scale > 0 else metric), accuracy
