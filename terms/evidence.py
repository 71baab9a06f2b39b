"""How much evidence a verdict needs. Read where results are judged and where requests are checked."""

FEWEST_CLUSTERS = 20
"""Clusters of test questions below which there is no interval (docs/science.md, 4.5): "not enough evidence"."""

LEAST_TOLD_APART = 0.7
"""Share of held-out texts that a judge must tell apart; the lower end of its 95 % interval counts. Below it no verdict stands: "not enough
evidence". Chance is 0.5."""
