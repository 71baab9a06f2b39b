"""Rows from which a direction does not exist: named, with the numbers and what to do. Each error has a `code` for programs."""


class DegenerateRows(ValueError):
    """No right direction exists for these rows."""

    code = "degenerate_rows"


class ClassEmpty(DegenerateRows):
    """A class has no training row."""

    code = "class_empty"


class NonFiniteRows(DegenerateRows):
    """NaN or infinite values among the rows."""

    code = "activations_not_finite"


class ZeroRows(DegenerateRows):
    """Rows without a direction of their own, for a method that scales each to norm 1."""

    code = "zero_rows"


class ClassesCoincide(DegenerateRows):
    """The two classes do not differ in what the method looks at."""

    code = "classes_coincide"


class TooFewRows(DegenerateRows):
    """The method needs more rows than there are."""

    code = "too_few_rows"


class NothingLeft(DegenerateRows):
    """Setting dims to 0 left no vector."""

    code = "nothing_left"
