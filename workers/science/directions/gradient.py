"""Fits a direction by gradient ascent on the class difference along the vector.

    maximise over v:  mean_i(p_i . v/|v|) - mean_j(n_j . v/|v|)

Its optimum is mean_diff (Cauchy-Schwarz): with enough steps the result equals mean_diff, with few steps it is partly its random start. Adam
(Kingma & Ba 2015), step 0.01, from a seeded N(0, I) start. Source: trait-interp's `gradient` (100 unseeded steps there).
"""

import numpy as np

from workers.science.directions.base import Fit, Labelled, Parameters, register

STEP, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-8
CONVERGED = 0.999


@register("gradient")
def gradient(data: Labelled, parameters: Parameters) -> Fit:
    """Fits the method. `optimum_cosine` is the cosine with mean_diff, the optimum. Raises ClassesCoincide."""
    delta_D = data.difference(data.rows_ND)
    # the objective's scale does not change its optimum, and hardly changes Adam's steps
    goal_D = delta_D / np.linalg.norm(delta_D)
    vector_D = np.random.default_rng(int(parameters["seed"])).standard_normal(len(goal_D))
    vector_D /= np.linalg.norm(vector_D)
    first_D, second_D = np.zeros_like(vector_D), np.zeros_like(vector_D)
    for step in range(1, int(parameters["steps"]) + 1):
        size = float(np.linalg.norm(vector_D))
        unit_D = vector_D / size
        slope_D = (goal_D - float(goal_D @ unit_D) * unit_D) / size
        first_D = BETA1 * first_D + (1 - BETA1) * slope_D
        second_D = BETA2 * second_D + (1 - BETA2) * slope_D**2
        vector_D = vector_D + STEP * (first_D / (1 - BETA1**step)) / (np.sqrt(second_D / (1 - BETA2**step)) + EPSILON)
    cosine = float(goal_D @ vector_D / np.linalg.norm(vector_D))
    return Fit(vector_D, {"iterations": int(parameters["steps"]), "optimum_cosine": cosine, "converged": cosine > CONVERGED})
