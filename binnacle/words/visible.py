"""Makes text safe for programs that act on control characters: terminals, log viewers, headers. Imports nothing."""

import re

UNSEEN = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""C0 and C1 controls, DEL, the line and paragraph separators and the bidirectional controls, for a regular expression in any language."""
UNSHOWN = re.compile(rf"[{UNSEEN}\ud800-\udfff]")


def visible(text: str) -> str:
    r"""Returns the text on one line, with each character that a terminal or viewer would act on as an escape: `\n`, `\x1b`, `\u202e`."""
    return UNSHOWN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
