"""Faults of a model, its files or a prompt, with a sentence that says what to do.

Every fault has a `code` (snake_case, stable, for programs) and a `sentence` (for people: what is wrong, the numbers, what to do). Knows nothing
of jobs or HTTP; the code that runs a job stores both unchanged.
"""

from collections.abc import Iterable


class ModelFault(Exception):
    """A model, its files or a prompt cannot be used as requested. A retry without changes gives the same fault."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


class OutOfMemory(ModelFault):
    """Even one row alone did not fit the device's memory."""

    def __init__(self, sentence: str) -> None:
        super().__init__("out_of_memory", sentence)


def first_few(names: Iterable[str], limit: int = 4) -> str:
    """The first names and the number of the rest, so that errors stay readable for models with thousands of tensors."""
    listed = list(names)
    shown = ", ".join(listed[:limit])
    return f"{shown} and {len(listed) - limit} more" if len(listed) > limit else shown
