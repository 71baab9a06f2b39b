"""Marks the words that differ between two answers, as HTML. Pure."""

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from binnacle.words.visible import visible

MOST_WORDS = 600
"""Most words of an answer that is marked: comparing longer answers takes too long."""
LEAST_ALIKE = 0.15
"""Least share of common words: below it answers differ throughout, and marks would say nothing."""
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
"""A word or a punctuation mark with the space before it; differences in spaces are ignored."""


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Returns both texts, with words that only one of them contains in `<del>` and `<ins>`."""
    a, b = _WORD.findall(before), _WORD.findall(after)
    if max(len(a), len(b)) > MOST_WORDS:
        return shown(before), shown(after)
    matcher = SequenceMatcher(None, [word.strip() for word in a], [word.strip() for word in b], autojunk=False)
    if sum(block.size for block in matcher.get_matching_blocks()) < LEAST_ALIKE * max(1, len(a)):
        return shown(before), shown(after)
    left, right = [], []
    for what, a0, a1, b0, b1 in matcher.get_opcodes():
        left.append(_piece("".join(a[a0:a1]), "" if what == "equal" else "del"))
        right.append(_piece("".join(b[b0:b1]), "" if what == "equal" else "ins"))
    return Markup("".join(left)), Markup("".join(right))


def shown(text: str) -> Markup:
    """Returns the text, escaped; control characters are shown as escapes, line breaks stay."""
    return escape("\n".join(visible(line) for line in text.split("\n")))


def _piece(text: str, tag: str) -> Markup:
    """Returns the words in their element, with the space before them outside it."""
    words = text.lstrip()
    if not tag or not words:
        return shown(text)
    return shown(text[: len(text) - len(words)]) + Markup(f"<{tag}>{shown(words)}</{tag}>")
