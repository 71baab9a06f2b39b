"""Writes a vector as a file for lm-evaluation-harness' `steered` models: `lm_eval --model steered --model_args
pretrained=...,steer_path=FILE`.

    {hookpoint: {"steering_vector": [D], "steering_coefficient": c, "action": "add", "head_index": None, "bias": None}}

The harness adds c times the vector to the output of the module with that name, at every position of prompt and answer, like a steering here
with scope `all` and coefficient c. The file is a pickle, which the service neither reads nor writes: it is created on the user's machine.
Needs torch, from the client's extra `[pt]`.
"""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binnacle.downloads import holds
from binnacle.errors import BinnacleError

if TYPE_CHECKING:
    import numpy as np

HOOKPOINT = "layers.{layer}"
"""The name of a block inside `model.base_model`, for most architectures; for GPT-2 it is `h.{layer}`."""


def write(
    vector: "np.ndarray[Any, np.dtype[np.float32]]",
    to: Path,
    *,
    layer: int,
    component: str,
    coefficient: float,
    hookpoint: str = HOOKPOINT,
    overwrite: bool = False,
) -> Path:
    """Writes a vector [D] at a layer to the file `to`, which ends in .pt. `hookpoint` is the block's name, with `{layer}` for its number.

    Raises BinnacleError without torch, for a vector that is not at a block's output, for other braces in `hookpoint`, and when the file
    exists with other content, unless `overwrite`.
    """
    if component != "residual":
        raise BinnacleError(
            "not_steerable_there",
            f"The vector is of {component}. Only vectors of residual, which act on the output of a whole block, can be written for "
            "lm-evaluation-harness.",
        )
    if to.suffix not in (".pt", ".pth"):
        raise BinnacleError("bad_name", f"{to}: give the file a name that ends in .pt; lm-evaluation-harness reads no other.")
    name = hookpoint.replace("{layer}", str(layer))
    if "{" in name or "}" in name:
        raise BinnacleError("bad_hookpoint", f"{hookpoint}: only {{layer}}, the block's number, may stand in braces.")
    try:
        import torch
    except ImportError as error:
        raise BinnacleError(
            "needs_torch",
            f"Writing {to.name} needs torch, which is not installed here. Install it: pip install 'binnacle-interp-client[pt]'",
        ) from error
    said = {"steering_vector": torch.tensor(vector), "steering_coefficient": float(coefficient), "action": "add"}
    made = io.BytesIO()
    torch.save({name: {**said, "head_index": None, "bias": None}}, made)
    if not holds(to, hashlib.sha256(made.getvalue()).hexdigest(), overwrite=overwrite):
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(made.getvalue())
    return to
