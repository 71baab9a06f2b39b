"""Where in a block a value is read or changed (docs/science.md, 3.3)."""

RESIDUAL_COMPONENTS = ("residual", "attn_contribution", "mlp_contribution", "attn_out", "mlp_out")
"""In the coordinates of the residual stream, so that a massive dimension means the same in them."""

COMPONENTS = (*RESIDUAL_COMPONENTS, "k_proj", "v_proj")
