"""Errors for rows from which no direction can be fitted, with the numbers and what to do. Each error has a `code` for programs."""


class DegenerateRows(ValueError):
    """The rows do not determine a direction."""

    code = "degenerate_rows"


class ClassEmpty(DegenerateRows):
    """A class has no training rows."""

    code = "class_empty"


class NonFiniteRows(DegenerateRows):
    """NaN or infinite values among the rows."""

    code = "activations_not_finite"


class ZeroRows(DegenerateRows):
    """Rows of norm 0, for a method that scales each row to norm 1."""

    code = "zero_rows"


class ClassesCoincide(DegenerateRows):
    """The two classes do not differ in the quantity that the method uses."""

    code = "classes_coincide"


class TooFewRows(DegenerateRows):
    """The method needs more rows than were given."""

    code = "too_few_rows"


class NothingLeft(DegenerateRows):
    """Setting dims to 0 left a zero vector."""

    code = "nothing_left"
