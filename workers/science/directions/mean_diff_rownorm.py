"""Mean difference of unit rows: the probe's row normalisation without the probe.

    v = mean_i(p_i / |p_i|) - mean_j(n_j / |n_j|)

A dimension that dominates every row's norm is nearly constant after the division, so its noise cannot enter the difference. Source: ours;
compare `mean_diff`, `probe`.
"""

from workers.science.directions.base import Fit, Labelled, Parameters, register


@register("mean_diff_rownorm")
def mean_diff_rownorm(data: Labelled, _parameters: Parameters) -> Fit:
    """Fits the method. Raises ZeroRows, ClassesCoincide."""
    return Fit(data.difference(data.unit_ND))
