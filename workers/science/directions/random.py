"""The method `random`: a direction drawn from N(0, I) by a seed. A control, too weak where a dimension is massive (docs/science.md, 3.4)."""

import numpy as np

from workers.science.directions.base import Fit, Labelled, Parameters, register


@register("random")
def random(data: Labelled, parameters: Parameters) -> Fit:
    """A random direction [D]; only the width of the rows is used."""
    return Fit(np.asarray(np.random.default_rng(int(parameters["seed"])).standard_normal(data.rows_ND.shape[1])))
