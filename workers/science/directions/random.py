"""A random direction: N(0, I), seeded. A control; on a model with a massive dimension alone too weak a one (docs/science.md, 3.4)."""

import numpy as np

from workers.science.directions.base import Fit, Labelled, Parameters, register


@register("random")
def random(data: Labelled, parameters: Parameters) -> Fit:
    """Reads the width of the rows and nothing else."""
    return Fit(np.asarray(np.random.default_rng(int(parameters["seed"])).standard_normal(data.rows_ND.shape[1])))
