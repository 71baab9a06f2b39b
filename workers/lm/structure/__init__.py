"""Finds how a model's blocks add to the residual stream, by running a small random twin of its config. Model names are never used."""
