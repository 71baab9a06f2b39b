"""What the judges that ship need to be fitted. Read where they are fitted and where their price is named."""

FITTED = ("reference", "phrases")
"""Kinds of judges that read texts with the steered model, by its own answers."""
MOST_QUESTIONS = 200
"""Of each set, answered unsteered."""
MOST_UNRELATED = 40
