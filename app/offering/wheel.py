"""The client's wheel, packed again from the client that is installed here: no build tool and no package index is needed.

The same installed files give the same bytes: their order and times are fixed.
"""

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import binnacle
from app.errors import Problem
from binnacle.version import DISTRIBUTION, VERSION

STEM = f"{DISTRIBUTION.replace('-', '_')}-{VERSION}"
FILENAME = f"{STEM}-py3-none-any.whl"
PACKED = frozenset({".py", ".json", ".typed"})
"""Endings of the files that the wheel holds."""
LEFT_OUT = frozenset({"build", "__pycache__"})
"""Names of folders that the wheel leaves out."""
TAGS = "Wheel-Version: 1.0\nGenerator: binnacle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the wheel: the earliest that a zip file can hold."""


@dataclass(frozen=True)
class Wheel:
    """The bytes of a wheel (`data`), and their SHA-256 (`digest`), which pip checks."""

    data: bytes
    digest: str


@cache
def wheel() -> Wheel:
    """Returns the wheel of the installed client. Raises Problem 503 when the client's distribution is not installed here."""
    folder = Path(binnacle.__file__).parent
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix in PACKED and not LEFT_OUT & set(path.relative_to(folder).parts)
    )
    files = {f"binnacle/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}
    files |= {f"{STEM}.dist-info/{name}": text.encode() for name, text in _description().items()}
    record = f"{STEM}.dist-info/RECORD"
    lines = [f"{name},sha256={_urlsafe(data)},{len(data)}" for name, data in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(zipfile.ZipInfo(name, LONG_AGO), data, zipfile.ZIP_DEFLATED)
    return Wheel(out.getvalue(), hashlib.sha256(out.getvalue()).hexdigest())


def _description() -> dict[str, str]:
    """Returns the files that name the package and its requirements to installers. Raises Problem 503 when the client is not installed."""
    try:
        installed = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        detail = (
            f"This server runs from a checkout where {DISTRIBUTION} is not installed. Install it there: pip install ./binnacle"
        )
        raise Problem(503, "client_not_installed", detail) from error
    texts = {name: installed.read_text(name) for name in ("METADATA", "entry_points.txt")}
    return {**{name: text for name, text in texts.items() if text is not None}, "WHEEL": TAGS}


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
