"""Downloads files: resumes partial files, keeps a file only if its hash is right, and replaces no other file without being told to."""

import hashlib
import re
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import httpx2

from binnacle.connection import Attempts, Connection
from binnacle.errors import BinnacleError, CorruptDownload, ServiceError
from binnacle.results import Artifact, Vector
from binnacle.served import quoted

_SHA256 = re.compile(r'^"?([0-9a-f]{64})"?$')


Source = str | Artifact | Vector
"""A source to download: an artifact of a job, a vector, the id of a vector, or a path of the API."""
FORMATS = ("safetensors", "gguf", "npy")
"""Formats in which a single vector can be downloaded."""


def download(
    connection: Connection, source: Source, to: str | Path, *, file_format: str = "safetensors", overwrite: bool = False
) -> Path:
    """Downloads the file that `source` names to `to`: a file, or a folder (ending in /). A vector comes in `file_format`.

    The next call resumes an interrupted download of an artifact. Raises CorruptDownload, and leaves nothing at `to`, when the bytes do not
    have the SHA-256 that the service announced. Raises BinnacleError when `to` holds other content, unless `overwrite`.
    """
    href, name, digest = _named(source, file_format)
    href = href.removeprefix(connection.address.url)
    if not href.startswith("/"):
        raise CorruptDownload(
            "foreign_download", f"{href} is not on {connection.address.url}; the key is not sent anywhere else."
        )
    target = _target(name, to)
    if holds(target, digest, overwrite=overwrite):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{digest[:16] if digest else 'new'}.part")
    if digest is None:
        part.unlink(missing_ok=True)
    attempts, arrived = Attempts(connection.patience), _size(part)
    while True:
        try:
            digest = _fetch(connection, href, part, digest)
            break
        except (httpx2.RequestError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.status < 500:
                raise
            if _size(part) > arrived:  # patience counts from the last bytes, not from an interruption before them
                attempts, arrived = Attempts(connection.patience), _size(part)
            if not attempts.pause():
                raise error if isinstance(error, ServiceError) else connection.unreachable(error) from error
    try:
        # the hash of a vector or of a path of the API is known only now
        holds(target, _checked(part, digest, target), overwrite=overwrite)
    except BinnacleError:
        part.unlink()
        raise
    part.replace(target)
    return target


def download_all(connection: Connection, artifacts: list[Artifact], folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Downloads artifacts into a folder. Raises BinnacleError before the first is written when one would replace other content."""
    targets = [_target(artifact["name"], f"{folder}/") for artifact in artifacts]
    for artifact, target in zip(artifacts, targets, strict=True):
        holds(target, artifact["sha256"], overwrite=overwrite)
    return [download(connection, *pair, overwrite=overwrite) for pair in zip(artifacts, targets, strict=True)]


def holds(target: Path, digest: str | None, *, overwrite: bool) -> bool:
    """Returns whether a file has this SHA-256 (None: not known yet, so False). Raises BinnacleError when it must not be replaced."""
    if not target.exists():
        return False
    if not target.is_file():
        raise BinnacleError("not_a_file", f"{target} is not a regular file, so it is not replaced. Name a file or a folder.")
    if digest is None:
        return False
    if _sha256(target) == digest:
        return True
    if not overwrite:
        raise BinnacleError(
            "file_exists",
            f"{target} holds other content, so it is not replaced. Name another folder or file, or replace it: --overwrite on the "
            "command line, overwrite=True in Python.",
        )
    return False


def _fetch(connection: Connection, href: str, part: Path, digest: str | None) -> str | None:
    """Appends the missing bytes to `part`; returns the SHA-256 of the whole file, if the service sends it."""
    have = _size(part) if digest else 0
    # identity: ranges of a compressed body would count compressed bytes
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with connection.stream(href, headers=headers) as response:
            first = response.history[0] if response.history else response
            named = _SHA256.match(first.headers.get("ETag", ""))
            resumed = response.status_code == 206
            if digest is not None and named is not None and named[1] != digest:
                raise CorruptDownload("artifact_changed", f"{href} has changed since the job was read. Fetch the job again.")
            digest = digest or (named[1] if named else None)
            with part.open("ab" if resumed else "wb") as out:
                for chunk in response.iter_raw():
                    out.write(chunk)
    except ServiceError as error:
        if error.status != 416:  # 416: the whole file had arrived already
            raise
    return digest


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(part: Path, digest: str | None, target: Path) -> str:
    """Returns the SHA-256 of a complete download. Raises CorruptDownload when it is another one than the service announced."""
    actual = _sha256(part)
    if digest not in (None, actual):
        raise CorruptDownload(
            "corrupt_download",
            f"{target.name} arrived with the SHA-256 {actual}; the service announced {digest}. Download it again.",
        )
    return actual


def _named(source: Source, file_format: str) -> tuple[str, str, str | None]:
    """Returns the path of the API, the file's name, and its SHA-256 if known. Raises BinnacleError."""
    if not isinstance(source, str) and "href" in source:
        artifact = cast(Artifact, source)
        return artifact["href"], artifact["name"], artifact["sha256"]
    which = source if isinstance(source, str) else str(source.get("id", ""))
    if isinstance(source, str) and not which.startswith("vec_"):
        return source, source, None
    if not which.startswith("vec_"):
        raise BinnacleError(
            "not_downloadable",
            f"{which or source!r} is not a file: name an artifact of a job (`client.job(job)['artifacts']`) or a vector; "
            "client.download_all(job) fetches every file of a job.",
        )
    if file_format not in FORMATS:
        raise BinnacleError(
            "unknown_format", f"{file_format!r}: a single vector comes as {', '.join(FORMATS)}; client.export() writes others."
        )
    return f"/v1/vectors/{quoted(which)}/download?format={file_format}", f"{which}.{file_format}", None


def _target(name: str, to: str | Path) -> Path:
    """Returns the path to write to; uses only the last part of the file's name, so that a name cannot lead out of the folder."""
    folder = str(to).endswith("/") or Path(to).is_dir()
    return Path(to) / Path(urlsplit(name).path).name if folder else Path(to)
