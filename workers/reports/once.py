"""Removes repeated explanations: leaves out of a note the sentences of earlier notes of the same document."""

import re

_SENTENCES = re.compile(r"(?<=[.;]) (?=[A-Z])")


class Once:
    """A function of each note in reading order that returns its new sentences."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, note: str) -> str:
        new = [sentence for sentence in dict.fromkeys(_SENTENCES.split(note)) if sentence not in self._said]
        self._said |= set(new)
        return " ".join(new)
