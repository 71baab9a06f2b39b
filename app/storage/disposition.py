"""The Content-Disposition header under which a download gets its name."""

import re
from urllib.parse import quote

from binnacle.words.visible import UNSHOWN

_ATTRIBUTE = "!#$&+-.^_`|~"  # what RFC 8187 allows unescaped in an extended value, next to letters and digits


def attachment(filename: str) -> str:
    """`attachment` with the name twice, as RFC 6266 asks: in ASCII for old clients, and in UTF-8 (RFC 8187) where that loses any.

    Control characters, quotes and path separators become `_` in both, so that no name can end the header or leave a folder.
    """
    name = re.sub(r'["\\/]', "_", UNSHOWN.sub("_", filename))
    plain = "".join(c if ord(c) < 128 else "_" for c in name)
    header = f'attachment; filename="{plain}"'
    return header if plain == name and "%" not in name else f"{header}; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE)}"
