"""The list of phrases that plain English does without, and where they occur in a text."""

import re
from collections.abc import Iterator
from pathlib import Path

LIST = Path(__file__).with_name("phrases.txt")


class Phrase:
    """A line of the list: a phrase, and after a bar those longer ones that contain it and are fine."""

    def __init__(self, line: str) -> None:
        wanted, _, fine = line.partition("|")
        self.wanted = _whole(wanted.strip())
        self.fine = [_whole(one.strip()) for one in fine.split(",") if one.strip()]

    def places(self, text: str) -> list[int]:
        """Where in the text the phrase begins, outside the longer ones that are fine."""
        fine = [match.span() for one in self.fine for match in one.finditer(text)]
        found = [match.span() for match in self.wanted.finditer(text)]
        return [start for start, end in found if not any(first <= start and end <= last for first, last in fine)]


def _whole(phrase: str) -> re.Pattern[str]:
    """Matches the phrase as whole words, in any case and over the end of a line; `...` is one word or an expression in braces."""
    words = (r"(?:[\w'/`.-]+|\{[^}]*\})" if word == "..." else re.escape(word) for word in phrase.split())
    return re.compile(r"(?<![\w'-])" + r"(?:[^\S\n]+|[^\S\n]*\n[^\S\n]*)".join(words) + r"(?![\w'-])", re.IGNORECASE)


def listed() -> dict[str, Phrase]:
    """The phrases by their line in the list."""
    lines = (line.strip() for line in LIST.read_text().splitlines())
    return {line: Phrase(line) for line in lines if line and not line.startswith("#")}


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """Each phrase that occurs in the text, with the line in which it begins."""
    lines = text.split("\n")
    for name, phrase in listed().items():
        for place in phrase.places(text):
            yield name, lines[text.count("\n", 0, place)]
