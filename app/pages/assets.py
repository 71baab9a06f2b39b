"""Serves the pages' own files at addresses with a hash of their content, so that browsers may cache them forever."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi import Response

from app.errors import not_found

FOLDER = Path(__file__).resolve().parent / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOR_GOOD = "public, max-age=31536000, immutable"
NAMES = frozenset(path.name for path in FOLDER.iterdir() if path.suffix in TYPES)


@lru_cache
def _read(name: str) -> tuple[str, bytes]:
    data = (FOLDER / name).read_bytes()
    return hashlib.sha256(data).hexdigest()[:16], data


def address(name: str) -> str:
    """Returns the address of a file in `static`."""
    return f"/assets/{_read(name)[0]}/{name}"


def answer(digest: str, name: str) -> Response:
    """Returns the file. Raises Problem 404 for an unknown name, and for the hash of another version."""
    if name not in NAMES or _read(name)[0] != digest:
        raise not_found("file", name[:80])
    return Response(_read(name)[1], media_type=TYPES[Path(name).suffix], headers={"Cache-Control": FOR_GOOD})
