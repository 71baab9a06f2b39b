"""Creates folders and files that only their owner can read, and short folders for unix sockets."""

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from app.embedded.accounts import Account
from app.embedded.errors import EmbeddedError

SOCKET_PATH_LIMIT = 107  # bytes of sockaddr_un.sun_path without its final zero


RUN_AS_OWNER = "Run this as the account that it belongs to (sudo -u NAME), or choose another --home"
REMOVE = "Remove or rename it"


def private_folder(path: Path, *, owner: Account | None = None, mode: int = 0o700, remedy: str = RUN_AS_OWNER) -> Path:
    """Returns `path` as a folder of `owner` (None: the caller) with exactly `mode`; creates it with its parents when missing.

    Raises EmbeddedError when the path is a link or a file, or belongs to another account, which could read the files in it. `remedy` is what
    to do about another account's folder; by default it may hold the data of a service.
    """
    uid = owner.uid if owner else os.geteuid()
    made = not path.exists()
    with contextlib.suppress(FileExistsError):  # a file, or a link to something that is not a folder
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    status = path.lstat()
    if stat.S_ISDIR(status.st_mode) and owner and (made or status.st_uid == os.geteuid()):
        os.chown(path, owner.uid, owner.gid)
        status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise EmbeddedError(
            "folder_not_ours", f"{path} must be a folder, but it is a {'link' if path.is_symlink() else 'file'}. {REMOVE}."
        )
    if status.st_uid != uid:
        raise EmbeddedError(
            "folder_not_ours", f"{path} must be a folder of user id {uid}, but it belongs to {status.st_uid}. {remedy}."
        )
    if stat.S_IMODE(status.st_mode) != mode:
        path.chmod(mode)
    return path


def write_private(path: Path, text: str) -> None:
    """Replaces `path` by `text` in one step; the file is readable only by its owner at all times."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def secret_file(path: Path) -> str:
    """Returns the secret in `path`; creates 43 random url-safe characters on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def socket_folder(folder: Path, socket_name: str, *, owner: Account | None = None) -> Path:
    """Returns a private folder for a socket with this name: `folder` itself, or a short one under the temporary folder.

    A socket's path has at most 107 bytes, and no comma, which separates addresses in the settings and clients of Postgres. The short name is
    derived from `folder`, so that it is the same after a restart.
    """
    if len(os.fsencode(folder / socket_name)) <= SOCKET_PATH_LIMIT and "," not in str(folder):
        return private_folder(folder, owner=owner)
    name = f"binnacle-{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}"
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        if len(os.fsencode(parent / name / socket_name)) <= SOCKET_PATH_LIMIT:
            return private_folder(parent / name, owner=owner, remedy=REMOVE)
    raise EmbeddedError(
        "socket_path_too_long", f"no folder has a path short enough for the socket {socket_name}; set TMPDIR to a shorter path."
    )
