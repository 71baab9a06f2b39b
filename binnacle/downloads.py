"""Downloads that go on where they broke off and are only kept when every byte is right."""

import hashlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from binnacle.connection import Attempts, Connection
from binnacle.errors import BinnacleError, CorruptDownload, ServiceError
from binnacle.words.layout import calibration_path

_SHA256 = re.compile(r'^"?([0-9a-f]{64})"?$')


def download(connection: Connection, source: str | dict[str, Any], to: str | Path) -> Path:
    """The file that `source` (an artifact of a job, or a path of the API) names, at `to`: a file, or a folder (ending in /).

    An interrupted download of an artifact is resumed by the next call too. Raises CorruptDownload, and leaves nothing at `to`,
    when the bytes do not have the sha256 the service named.
    """
    href = (source if isinstance(source, str) else source["href"]).removeprefix(connection.address.url)
    if not href.startswith("/"):
        raise CorruptDownload(
            "foreign_download", f"{href} is not on {connection.address.url}; the key is not sent anywhere else."
        )
    digest = None if isinstance(source, str) else source["sha256"]
    target = _target(href if isinstance(source, str) else source["name"], to)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{digest[:16] if digest else 'new'}.part")
    if digest is None:
        part.unlink(missing_ok=True)
    attempts = Attempts(connection.patience)
    while True:
        try:
            digest = _fetch(connection, href, part, digest)
            break
        except (httpx2.TransportError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.status < 500:
                raise
            if not attempts.pause():
                raise error if isinstance(error, ServiceError) else connection.unreachable(error) from error
    _check(part, digest, target)
    part.replace(target)
    return target


def place_calibration(
    connection: Connection, job: dict[str, Any], folder: Path, experiment: str | None = None, model_variant: str | None = None
) -> Path:
    """The calibration.json of a job, where trait-interp looks for it below `folder`.

    Raises BinnacleError, and changes nothing there, for a job of another kind and when another file has its place.
    """
    if job["kind"] != "calibrate":
        raise BinnacleError("no_calibration", _NOT_PLACED.get(job["kind"], _NOT_PLACED[""]).format(**job))
    if not job["artifacts"]:
        raise BinnacleError("no_files", f"{job['id']} has no files (it is {job['state']}); see: binnacle watch {job['id']}")
    artifact = next(one for one in job["artifacts"] if one["name"] == "calibration.json")
    document = connection.request("GET", artifact["href"]).json()
    try:
        place = calibration_path(experiment or document["experiment"], model_variant or document["model_variant"])
    except ValueError as error:
        raise BinnacleError("bad_folder", f"{error} Name others with --experiment and --model-variant.") from error
    target = folder / place
    if target.exists():
        if hashlib.sha256(target.read_bytes()).hexdigest() == artifact["sha256"]:
            return target
        detail = (
            f"{target} is another calibration. Name this one's folder with --model-variant or --experiment, or remove the file."
        )
        raise BinnacleError("place_taken", detail)
    return download(connection, artifact, target)


_NOT_PLACED = {
    "extract": (
        "{id} is an extraction. Its folder in this layout is written by an export job: POST /v1/extractions/{id}/exports "
        'with {{"format": "trait-interp"}}, then binnacle get on that job.'
    ),
    "": "{id} is a job of kind {kind}; --layout trait-interp places the calibration.json of calibrations.",
}
"""By kind of job, what to do instead."""


def _fetch(connection: Connection, href: str, part: Path, digest: str | None) -> str | None:
    """Appends what is missing to `part`; the sha256 the whole must have, if the service says."""
    have = part.stat().st_size if part.exists() and digest else 0
    # identity: a compressed body's ranges would be those of the compressed bytes
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with connection.stream(href, headers=headers) as response:
            first = response.history[0] if response.history else response
            named = _SHA256.match(first.headers.get("ETag", ""))
            resumed = response.status_code == 206
            if digest is not None and named is not None and named[1] != digest:
                raise CorruptDownload(
                    "artifact_changed", f"{href} is now another file than the one asked for. Ask for the job again."
                )
            digest = digest or (named[1] if named else None)
            with part.open("ab" if resumed else "wb") as out:
                for chunk in response.iter_raw():
                    out.write(chunk)
    except ServiceError as error:
        if error.status != 416:  # 416: everything had arrived already
            raise
    return digest


def _check(part: Path, digest: str | None, target: Path) -> None:
    if digest is None:
        return
    with part.open("rb") as arrived:
        found = hashlib.file_digest(arrived, "sha256").hexdigest()
    if found != digest:
        part.unlink()
        raise CorruptDownload(
            "corrupt_download", f"{target.name} arrived with sha256 {found}, the service promised {digest}. Download it again."
        )


def _target(name: str, to: str | Path) -> Path:
    """Where the file goes; only the last part of its name counts, so that a name can never lead out of the folder."""
    folder = str(to).endswith("/") or Path(to).is_dir()
    return Path(to) / Path(urlsplit(name).path).name if folder else Path(to)
