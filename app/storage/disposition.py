"""Builds the Content-Disposition header, which names a downloaded file."""

import re
from urllib.parse import quote

from binnacle.words.visible import UNSHOWN

_ATTRIBUTE = "!#$&+-.^_`|~"  # characters that RFC 8187 allows unescaped in an extended value, in addition to letters and digits


def attachment(filename: str) -> str:
    """Returns an `attachment` header with the file name in ASCII for old clients, and in UTF-8 (RFC 8187) if ASCII loses characters (RFC
    6266).

    Control characters, quotes and path separators become `_` in both, so that no name can end the header or leave a folder.
    """
    name = re.sub(r'["\\/]', "_", UNSHOWN.sub("_", filename))
    plain = "".join(c if ord(c) < 128 else "_" for c in name)
    header = f'attachment; filename="{plain}"'
    return header if plain == name and "%" not in name else f"{header}; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE)}"
