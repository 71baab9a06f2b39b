"""How much evidence a verdict needs, and how much the reference system took. Used where results are judged and where requests are checked."""

FEWEST_CLUSTERS = 20
"""Least clusters of test questions for an interval (docs/science.md, 4.5); with fewer, the verdict is "not enough evidence"."""

LEAST_TOLD_APART = 0.7
"""Least share of held-out texts that a judge must tell apart, by the lower end of its 95 % interval. Below it the verdict is "not enough
evidence". Chance is 0.5.
"""

REFERENCE_QUESTIONS = 10
"""Number of questions in the set `reference`: the first questions of the trait, whatever their split, as in the reference system."""
