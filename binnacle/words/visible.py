"""How text is shown by programs that obey what they are given: terminals, readers of logs, headers. Imports nothing."""

import re

UNSEEN = r"\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""C0 and C1 controls, DEL, the line and paragraph separators and the bidi controls, as regular expressions of every language write them."""
UNSHOWN = re.compile(rf"[{UNSEEN}\ud800-\udfff]")


def visible(text: str) -> str:
    r"""The text on one line, each character that a terminal or a reader would obey written out: `\n`, `\x1b`, `\u202e`."""
    return UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
