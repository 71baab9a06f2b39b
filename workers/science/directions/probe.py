"""Logistic-regression probe on unit rows.

    minimise over w, b:  |w|^2 / 2 + C sum_i k_i log(1 + exp(-y_i (w.x_i + b))),  x_i = row_i / |row_i|,  v = w

scikit-learn in float64 with tol 1e-10 (its default stops early: cosine 0.997 at C = 100), no centring, intercept not penalised. With more
dimensions than rows it is solved in the span of the rows, which is exact: the gradient of the data term lies there, so w does too. At the
optimum w = C sum_i k_i (label_i - p_i) x_i; w is computed from that equation, and its distance from the solver's own w is the convergence check.
Source: trait-interp's `probe`; representer theorem (Kimeldorf & Wahba 1971).
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from workers.science.directions.base import Fit, Labelled, Parameters, register
from workers.science.linalg import Bool, Float, factor
from workers.science.threads import one_thread

CONVERGED = 1e-6
"""Largest relative gap of the optimality equation at which a fit counts as converged."""
MOST_ITERATIONS = 1000


@register("probe")
def probe(data: Labelled, parameters: Parameters) -> Fit:
    """Fits the method. The facts report a fit that did not converge. Raises ZeroRows."""
    used = data.counts_N > 0
    unit_ND, labels_N, counts_N = data.unit_ND[used], data.positive_N[used], data.counts_N[used].astype(np.float64)
    strength = float(parameters.get("c", 1.0))
    with one_thread():
        wide = unit_ND.shape[1] > len(unit_ND)
        features = factor(unit_ND @ unit_ND.T) if wide else unit_ND
        fitted, iterations = _solve(features, labels_N, counts_N, strength)
        scores_N = features @ fitted.coef_[0] + fitted.intercept_[0]
        residual_N = strength * counts_N * (labels_N - _sigmoid(scores_N))
        gap = np.linalg.norm(features.T @ residual_N - fitted.coef_[0]) / max(1e-300, float(np.linalg.norm(fitted.coef_[0])))
    facts = {
        "bias": float(fitted.intercept_[0]),
        "train_accuracy": float(np.average((scores_N > 0) == labels_N, weights=counts_N)),
        "converged": bool(gap < CONVERGED and iterations < MOST_ITERATIONS),
        "iterations": iterations,
        "optimality_gap": float(gap),
    }
    return Fit(residual_N @ unit_ND, facts)


def _solve(features: Float, labels_N: Bool, counts_N: Float, strength: float) -> tuple[LogisticRegression, int]:
    solver = LogisticRegression(C=strength, tol=1e-10, max_iter=MOST_ITERATIONS, solver="newton-cholesky")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported in the facts
        fitted = solver.fit(features, labels_N, sample_weight=counts_N)
    return fitted, int(fitted.n_iter_[0])


def _sigmoid(scores_N: Float) -> Float:
    return np.asarray(np.exp(-np.logaddexp(0.0, -scores_N)))
