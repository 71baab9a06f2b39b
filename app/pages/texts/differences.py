"""Which words of two answers differ, as marked HTML. Pure."""

import re
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from binnacle.words.visible import visible

MOST_WORDS = 600
"""Longer answers are shown without marks: comparing them takes too long."""
LEAST_ALIKE = 0.15
"""Answers that share less than this are different throughout, and marks would say nothing."""
_WORD = re.compile(r"\s+|\w+|[^\w\s]")


def marked(before: str, after: str) -> tuple[Markup, Markup]:
    """Both texts, with the words that only one of them has in `<del>` and `<ins>`."""
    a, b = _WORD.findall(before), _WORD.findall(after)
    if max(len(a), len(b)) > MOST_WORDS:
        return shown(before), shown(after)
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    words = [one for one in a if not one.isspace()]
    alike = sum(not word.isspace() for block in matcher.get_matching_blocks() for word in a[block.a : block.a + block.size])
    if alike < LEAST_ALIKE * max(1, len(words)):
        return shown(before), shown(after)
    left, right = [], []
    for what, a0, a1, b0, b1 in matcher.get_opcodes():
        left.append(_piece("".join(a[a0:a1]), "" if what == "equal" else "del"))
        right.append(_piece("".join(b[b0:b1]), "" if what == "equal" else "ins"))
    return Markup("").join(left), Markup("").join(right)


def shown(text: str) -> Markup:
    """The text, escaped; its control characters are written out, its line breaks stay."""
    return escape("\n".join(visible(line) for line in text.split("\n")))


def _piece(text: str, tag: str) -> Markup:
    return shown(text) if not tag or not text.strip() else Markup("<{0}>{1}</{0}>").format(Markup(tag), shown(text))
