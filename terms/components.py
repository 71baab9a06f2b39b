"""Places in a block where a value is read or changed (docs/science.md, 3.3)."""

from typing import Literal, get_args

Component = Literal["residual", "attn_contribution", "mlp_contribution", "attn_out", "mlp_out", "k_proj", "v_proj"]
COMPONENTS: tuple[Component, ...] = get_args(Component)

RESIDUAL_COMPONENTS = COMPONENTS[:5]
"""Components in the coordinates of the residual stream, so that massive dimensions have the same meaning in them."""
