"""Which words of two answers differ, as marked HTML. Pure."""

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from binnacle.words.visible import visible

MOST_WORDS = 600
"""Longer answers are shown without marks: comparing them takes too long."""
LEAST_ALIKE = 0.15
"""Answers that share less than this are different throughout, and marks would say nothing."""
_WORD = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
"""A word or a sign, with the space before it: spaces are alike everywhere and are not compared."""


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts, with the words that only one of them has in `<del>` and `<ins>`."""
    a, b = _WORD.findall(before), _WORD.findall(after)
    if max(len(a), len(b)) > MOST_WORDS:
        return shown(before), shown(after)
    matcher = SequenceMatcher(None, [one.strip() for one in a], [one.strip() for one in b], autojunk=False)
    if sum(block.size for block in matcher.get_matching_blocks()) < LEAST_ALIKE * max(1, len(a)):
        return shown(before), shown(after)
    left, right = [], []
    for what, a0, a1, b0, b1 in matcher.get_opcodes():
        left.append(_piece("".join(a[a0:a1]), "" if what == "equal" else "del"))
        right.append(_piece("".join(b[b0:b1]), "" if what == "equal" else "ins"))
    return Markup("".join(left)), Markup("".join(right))


def shown(text: str) -> Markup:
    """The text, escaped; its control characters are written out, its line breaks stay."""
    return escape("\n".join(visible(line) for line in text.split("\n")))


def _piece(text: str, tag: str) -> Markup:
    """The words in their element, and the space before them outside it."""
    words = text.lstrip()
    if not tag or not words:
        return shown(text)
    return shown(text[: len(text) - len(words)]) + Markup(f"<{tag}>{shown(words)}</{tag}>")
