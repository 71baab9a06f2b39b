"""Each explanation once: leaves out of a note what an earlier note of the same document said."""

import re

_SENTENCES = re.compile(r"(?<=[.;]) (?=[A-Z])")


class Once:
    """Called with each note in reading order; returns the sentences that are new."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, note: str) -> str:
        new = [one for one in dict.fromkeys(_SENTENCES.split(note)) if one not in self._said]
        self._said |= set(new)
        return " ".join(new)
