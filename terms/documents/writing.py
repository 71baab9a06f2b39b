"""The one writer of stored files with a JSON object in each line. Their readers are in `reading`."""

import json
from collections.abc import Iterable, Mapping


def json_lines(lines: Iterable[Mapping[str, object]]) -> bytes:
    """The bytes of a .jsonl file: each object in a line of its own, keys in their order, text as UTF-8 and not escaped."""
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
