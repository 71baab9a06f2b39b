"""Mean difference of the two classes.

    v = mean_i(p_i) - mean_j(n_j)

Weighs each dimension by magnitude: a massive dimension's sampling noise can dominate the vector. Source: difference-in-means steering (Turner et
al. 2023; Rimsky et al. 2024); trait-interp's `mean_diff`.
"""

from workers.science.directions.base import Fit, Labelled, Parameters, register


@register("mean_diff")
def mean_diff(data: Labelled, _parameters: Parameters) -> Fit:
    """Fits the method. Raises ClassesCoincide."""
    return Fit(data.difference(data.rows_ND))
