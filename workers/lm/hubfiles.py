"""Downloads a hub model file by file into the hub client's own cache, with progress; interrupted downloads resume, and hashes are checked.

The hub client restarts an interrupted file from the beginning and checks only its size. Here a partial file is kept as `blobs/HASH.part` and
renamed to `blobs/HASH` once its bytes have that hash: SHA-256 for files in large-file storage (all weights), git's own hash for the others.
"""

import fcntl
import fnmatch
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils._headers import build_hf_headers

from workers.lm.errors import ModelFault, first_few
from workers.lm.folder import WHOLE
from workers.lm.hub import WANTED, repository_folder

CHUNK = 8 << 20


@dataclass(frozen=True)
class HubFile:
    """A file of a pinned revision. `hash` names its blob: 64 digits are a SHA-256, 40 digits git's SHA-1."""

    name: str
    size: int
    hash: str


@dataclass(frozen=True)
class HubModel:
    """The files that make up a model, and their place in the cache."""

    name: str
    revision: str
    files: tuple[HubFile, ...]
    folder: Path

    @property
    def snapshot(self) -> Path:
        """The folder of the revision in the hub's cache."""
        return self.folder / "snapshots" / self.revision

    def blob(self, file: HubFile) -> Path:
        """Where the file's whole content lies, once it is downloaded."""
        return self.folder / "blobs" / file.hash

    def partial(self, file: HubFile) -> Path:
        """Where the file's content lies while it is downloaded."""
        return self.folder / "blobs" / f"{file.hash}.part"

    def present(self, file: HubFile) -> int:
        """Bytes of the file that are on this machine already."""
        for path in (self.blob(file), self.partial(file)):
            if path.is_file():
                return min(path.stat().st_size, file.size)
        return 0

    def missing_bytes(self) -> int:
        """The bytes that are still to be downloaded."""
        return sum(file.size - self.present(file) for file in self.files)


def look_up(name: str, revision: str, *, token: str | None, cache: Path | None = None) -> HubModel:
    """Lists the files of the revision on the hub. Raises ModelFault wrong_revision, no_weights, and the hub client's errors.

    `token`: None sends no token, even when the machine's user is logged in to the hub.
    """
    info = HfApi().model_info(name, revision=revision, files_metadata=True, token=token or False)
    if info.sha != revision:
        raise ModelFault("wrong_revision", f"The hub answers {info.sha} for {name} at {revision}. Give the commit's 40 digits.")
    files = []
    for sibling in info.siblings or ():
        digest = sibling.lfs.sha256 if sibling.lfs is not None else sibling.blob_id
        plain = "/" not in sibling.rfilename and any(fnmatch.fnmatch(sibling.rfilename, pattern) for pattern in WANTED)
        if plain and sibling.size is not None and digest and _is_hash(digest):
            files.append(HubFile(sibling.rfilename, sibling.size, digest))
    if not any(file.name.endswith(".safetensors") for file in files):
        others = first_few(sorted(sibling.rfilename for sibling in info.siblings or ())) or "nothing"
        raise ModelFault(
            "no_weights", f"{name} at {revision} has no model*.safetensors (it has: {others}). Only safetensors are ever fetched."
        )
    if any(file.name == WHOLE for file in files):  # the library loads this file and ignores shards in the same folder
        files = [file for file in files if file.name == WHOLE or not file.name.startswith("model")]
    return HubModel(name, revision, tuple(sorted(files, key=lambda file: file.size)), repository_folder(name, cache))


def _is_hash(text: str) -> bool:
    return len(text) in (40, 64) and all(character in "0123456789abcdef" for character in text)


def fetch(model: HubModel, file: HubFile, *, token: str | None, advance: Callable[[int], None]) -> None:
    """Downloads one file, continuing a partial download; `advance(bytes)` may raise to stop, and the bytes that arrived are kept.

    Raises ModelFault corrupt_download (and deletes the bytes that arrived), busy_elsewhere, and the hub client's errors.
    """
    blob = model.blob(file)
    blob.parent.mkdir(parents=True, exist_ok=True)
    if not blob.is_file():
        partial = model.partial(file)
        with _alone(partial, model.name) as out:
            have = out.seek(0, os.SEEK_END)
            if have > file.size:
                have = out.truncate(0)
                out.seek(0)
            if have < file.size:
                url = hf_hub_url(model.name, file.name, revision=model.revision)
                headers = build_hf_headers(token=token or False)
                meter = _meter(advance)
                http_get(url, out, resume_size=have, headers=headers, expected_size=file.size, tqdm_class=meter)
            out.flush()
            os.fsync(out.fileno())
            digest = content_hash(partial, file)
            if digest != file.hash:
                partial.unlink()
                raise ModelFault(
                    "corrupt_download",
                    f"{file.name} of {model.name} arrived with the hash {digest[:16]}; the hub announced "
                    f"{file.hash[:16]}. The download was discarded. Try again; if this continues, ask the operator of the mirror.",
                )
            partial.rename(blob)
    _link(model, file)


def content_hash(path: Path, file: HubFile) -> str:
    """The hash by which the hub names the file's content."""
    digest = hashlib.sha256()
    if len(file.hash) == 40:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _link(model: HubModel, file: HubFile) -> None:
    """Creates the snapshot's link to the blob, as the hub client does."""
    pointer = model.snapshot / file.name
    pointer.parent.mkdir(parents=True, exist_ok=True)
    if not pointer.exists():
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(Path("..", "..", "blobs", file.hash))


@contextmanager
def _alone(partial: Path, name: str) -> Iterator[BinaryIO]:
    """Opens the partial file with a lock, because a worker that has lost this job without noticing may still write to it."""
    with partial.open("a+b") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelFault("busy_elsewhere", f"Another process is fetching {name} into {partial.parent}.") from None
        yield out


def _meter(advance: Callable[[int], None]) -> type:
    """A progress bar class for `http_get` that only reports how many bytes arrived."""

    class Meter:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def __enter__(self) -> "Meter":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int) -> None:
            advance(count)

    return Meter


def total_bytes(files: Sequence[HubFile]) -> int:
    """The files' total size in bytes."""
    return sum(file.size for file in files)
