"""`python -m app.openapi` writes `openapi.json`; a test compares it with the code."""

import json
import sys
from pathlib import Path

from app.main import create_app

FILE = Path(__file__).resolve().parent.parent / "openapi.json"


def write(path: Path = FILE) -> None:
    """Writes the OpenAPI document of the current application."""
    path.write_text(json.dumps(create_app().openapi(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
