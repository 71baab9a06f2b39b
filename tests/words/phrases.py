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

    def occurs(self, text: str) -> bool:
        """Whether the phrase stands in the text outside the longer ones that are fine."""
        for one in self.fine:
            text = one.sub(" ; ", text)
        return self.wanted.search(text) is not None


def _whole(phrase: str) -> re.Pattern[str]:
    """Matches the phrase as whole words, whatever the case; `...` stands for one word or an expression in braces."""
    words = (r"(?:[\w'/`.-]+|\{[^}]*\})" if word == "..." else re.escape(word) for word in phrase.split())
    return re.compile(r"(?<![\w'-])" + r"[\s]+".join(words) + r"(?![\w'-])", re.IGNORECASE)


def listed() -> dict[str, Phrase]:
    """The phrases by their line in the list."""
    lines = (line.strip() for line in LIST.read_text().splitlines())
    return {line: Phrase(line) for line in lines if line and not line.startswith("#")}


def found_in(text: str) -> Iterator[tuple[str, str]]:
    """Each line of the text in which a phrase occurs, with that phrase. A phrase may run over the end of a line."""
    lines = text.splitlines()
    for name, phrase in listed().items():
        for i, line in enumerate(lines):
            beyond = lines[i + 1] if i + 1 < len(lines) else ""
            if phrase.occurs(line) or (phrase.occurs(f"{line} {beyond}") and not phrase.occurs(beyond)):
                yield name, line
