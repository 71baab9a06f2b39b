"""How much text the built-in judges are fitted on, for the worker that fits them and the API that states the cost; and the words that are
scores on a judge model's scales, for the worker that reads them and the pages that show them."""

FITTED = ("reference", "phrases")
"""Kinds of judges that read texts with the steered model and are fitted on its own answers."""
MOST_QUESTIONS = 200
"""Most questions of each set that are answered unsteered to fit a judge."""
MOST_UNRELATED = 40
"""Most unrelated questions that are answered unsteered to fit a judge."""
NUMBERS = {str(number): float(number) for number in range(101)}
LETTERS = {letter: 10.0 * place for place, letter in enumerate("ABCDEFGHIJK")}
"""The scores of a judge model's one-word replies, on its two scales."""
