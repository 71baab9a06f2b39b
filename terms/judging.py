"""How much text the built-in judges are fitted on: for the worker that fits them, and for the API that states the cost."""

FITTED = ("reference", "phrases")
"""Kinds of judges that read texts with the steered model and are fitted on its own answers."""
MOST_QUESTIONS = 200
"""Most questions of each set that are answered unsteered to fit a judge."""
MOST_UNRELATED = 40
"""Most unrelated questions that are answered unsteered to fit a judge."""
