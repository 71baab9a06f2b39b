"""How much evidence a verdict needs. Read where results are judged and where requests are checked."""

FEWEST_CLUSTERS = 20
"""Clusters of test questions below which there is no interval (docs/science.md, 4.5): "not enough evidence"."""
