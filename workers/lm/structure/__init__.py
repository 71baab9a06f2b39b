"""How a model's blocks add to the residual stream, found by running a small random twin of its config; no names of models anywhere."""
