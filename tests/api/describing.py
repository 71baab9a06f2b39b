"""The schemas of the committed openapi.json."""

import json
from typing import Any

from app.openapi import FILE

DOCUMENT = json.loads(FILE.read_text())


def described() -> list[tuple[str, dict[str, Any]]]:
    """Name and schema of each component, and of each request body by its path and media type."""
    found = list(DOCUMENT["components"]["schemas"].items())
    for path, operations in DOCUMENT["paths"].items():
        for told in operations.values():
            for kind, content in told.get("requestBody", {}).get("content", {}).items() if isinstance(told, dict) else ():
                found.append((f"{path} {kind}", content.get("schema", {})))
    return found
