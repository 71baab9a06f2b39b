"""How the shipped models and traits are made: a little world of English, a corpus in it, a planted dimension, a report."""
