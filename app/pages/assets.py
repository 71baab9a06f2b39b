"""The pages' own files, served under an address that holds their content's hash, so that browsers may keep them for good."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi import Response

from app.errors import not_found

FOLDER = Path(__file__).resolve().parent / "static"
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOR_GOOD = "public, max-age=31536000, immutable"


@lru_cache
def _read(name: str) -> tuple[str, bytes]:
    data = (FOLDER / name).read_bytes()
    return hashlib.sha256(data).hexdigest()[:16], data


def address(name: str) -> str:
    """The address of one of the files in `static`."""
    return f"/assets/{_read(name)[0]}/{name}"


def answer(digest: str, name: str) -> Response:
    """The file. Raises Problem 404 for another name, and for a hash of another version."""
    path = Path(name)
    if path.name != name or path.suffix not in TYPES or not (FOLDER / name).is_file() or _read(name)[0] != digest:
        raise not_found("file", name[:80])
    return Response(_read(name)[1], media_type=TYPES[path.suffix], headers={"Cache-Control": FOR_GOOD})
