"""Faults of storage raise the right error and leave no incomplete object: full disks, killed processes, missing buckets, servers that hang."""

import hashlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from app.storage.base import ObjectCorrupt, ObjectMissing, Storage, StorageDenied, StorageFull, StorageUnavailable
from app.storage.factory import open_storage
from tests.storage.conftest import KEYS

DATA = b"the bytes of a finished job" * 10_000
KEY = "sha256/" + hashlib.sha256(DATA).hexdigest()
PROGRAM = """
import os, resource, sys
from pathlib import Path
from app.storage.base import StorageFull
from app.storage.local import LocalStorage
DATA, KEY = b"the bytes of a finished job" * 10_000, sys.argv[2]
storage = LocalStorage(Path(sys.argv[1]))
"""


def run(program: str, folder: Path, *wrapper: str) -> subprocess.CompletedProcess[str]:
    """Runs PROGRAM and these lines in a new process, with a store in `folder`."""
    command = [*wrapper, sys.executable, "-c", PROGRAM + program, str(folder), KEY]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_file_size_limit_raises_storage_full_and_leaves_nothing(tmp_path: Path):
    done = run(
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    storage.put(KEY, DATA)
except StorageFull as error:
    print(error)
""",
        tmp_path,
    )
    assert "storage_full" in done.stdout, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_raises_storage_full_and_leaves_nothing(tmp_path: Path):
    wrapper = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=128k none "$0" && exec "$@"', str(tmp_path))
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here; the file size limit stands in for it")
    done = run(
        """
try:
    storage.put(KEY, DATA)
except StorageFull as error:
    print(error, [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()])
""",
        tmp_path,
        *wrapper,
    )
    assert "No space left on device" in done.stdout, done.stderr
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("step", ["os.fsync", "Path.replace"])
def test_a_put_killed_before_its_object_is_complete_leaves_no_object(tmp_path: Path, step: str):
    done = run(
        f"{step} = lambda *_: os._exit(9) if any(Path(sys.argv[1], 'staging').iterdir()) else None\nstorage.put(KEY, DATA)",
        tmp_path,
    )
    assert done.returncode == 9, done.stderr
    storage = open_storage(f"file://{tmp_path}")
    assert list(storage.list()) == []
    assert storage.sweep(older_than_seconds=3600) == 0, "a put may still be at work on it"
    assert storage.sweep(older_than_seconds=0) == 1
    assert storage.put(KEY, DATA) is True


def test_put_syncs_the_file_then_renames_it_then_syncs_the_folder(local: Storage, monkeypatch: pytest.MonkeyPatch):
    """After a power cut, a name must have its bytes, and a committed reference its name."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def recording_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def recording_replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    local.put(KEY, DATA)
    assert order == ["file", "rename", "folder"]
    local.put(KEY, DATA)
    assert order[3:] == ["folder"], "another put's rename may not have reached the disk yet"


def test_only_the_service_can_read_the_folder(tmp_path: Path):
    storage = open_storage(f"file://{tmp_path}/new/objects")
    storage.put(KEY, DATA)
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new" / "objects").rglob("*")
    }
    assert modes == {"new/objects/sha256": 0o700, "new/objects/staging": 0o700, f"new/objects/{KEY}": 0o600}


def test_a_missing_folder_is_unavailable_and_not_empty(tmp_path: Path):
    """Where a disk is not mounted, no object may count as missing and no deletion as done."""
    storage = open_storage(f"file://{tmp_path}/objects")
    (tmp_path / "objects").rename(tmp_path / "elsewhere")
    for call in (storage.check, lambda: storage.get(KEY), lambda: storage.put(KEY, DATA), lambda: storage.delete(KEY)):
        with pytest.raises(StorageUnavailable, match="mounted"):
            call()


@pytest.mark.parametrize("folder", ["sha256", "staging"])
def test_a_store_that_lacks_a_folder_is_not_ready(tmp_path: Path, folder: str):
    """No object could be put."""
    storage = open_storage(f"file://{tmp_path}/objects")
    (tmp_path / "objects" / folder).rmdir()
    for call in (storage.check, lambda: storage.put(KEY, DATA)):
        with pytest.raises(StorageUnavailable, match="mounted"):
            call()


def test_a_folder_that_cannot_be_made_is_denied(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageDenied, match="must own"):
        open_storage(f"file://{tmp_path}/file/objects")


def test_a_server_that_is_down_is_unavailable():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        storage = open_storage(
            f"s3://b?endpoint=http://127.0.0.1:{reserved.getsockname()[1]}&access_key_id=a&secret_access_key=b"
        )
        for call in (storage.check, lambda: storage.get(KEY), lambda: storage.put(KEY, DATA), lambda: storage.delete(KEY)):
            with pytest.raises(StorageUnavailable):
                call()


def test_a_missing_bucket_is_denied(s3_endpoint: str):
    storage = open_storage(f"s3://nobody-made-it?endpoint={s3_endpoint}&access_key_id=a&secret_access_key=b")
    for call in (storage.check, lambda: storage.get(KEY), lambda: storage.put(KEY, DATA)):
        with pytest.raises(StorageDenied, match="There is no bucket nobody-made-it"):
            call()


@contextmanager
def answering(status: int, *, seconds: float = 0, seen: list[dict[str, str]] | None = None) -> Iterator[str]:
    """STORAGE_URL of a server that answers with this status after `seconds`, HEAD with 404; `seen` collects the headers of requests."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            if seen is not None:
                seen.append({name.lower(): value for name, value in self.headers.items()})
            time.sleep(seconds)
            self.send_response(404 if self.command == "HEAD" else status)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"s3://b?endpoint=http://127.0.0.1:{server.server_port}&access_key_id=a&secret_access_key=b"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "error"), [(507, StorageFull), (403, StorageDenied), (401, StorageDenied), (500, StorageUnavailable)]
)
def test_the_status_of_a_server_decides_the_kind_of_error(status: int, error: type[Exception]):
    with answering(status) as url:
        storage = open_storage(url)
        for call in (lambda: storage.put(KEY, DATA), lambda: storage.get(KEY), storage.check):
            with pytest.raises(error):
                call()


@pytest.mark.long
def test_a_deletion_gives_up_before_postgres_ends_its_transaction():
    """A collector holds a row's lock while it deletes; Postgres ends a transaction that idles for 30 seconds."""
    with answering(200, seconds=60) as url:
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            open_storage(url).delete(KEY)
        assert time.monotonic() - started < 28


def test_an_upload_whose_file_changed_leaves_no_parts_behind(s3: Storage, bucket_url: str, tmp_path: Path):
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(20_000_000))
    with pytest.raises(ObjectCorrupt):  # KEY is the digest of other bytes
        s3.put(KEY, big)
    url = urlsplit(bucket_url)
    client = boto3.client("s3", endpoint_url=parse_qs(url.query)["endpoint"][0], region_name="us-east-1", **KEYS)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=url.netloc)


BAD_URLS: dict[str, str] = {
    "http://host/bucket": "scheme 'http'",
    "/var/lib/objects": "scheme ''",
    "file://relative/folder": "three slashes",
    "file:///": "absolute folder",
    "s3://key:secret@bucket": "query",
    "s3://": "bucket",
    "s3://bucket?endpoint=host:9000": "begin with http",
    "s3://bucket?acces_key_id=x": "unknown option 'acces_key_id'",
    "s3://bucket?secret_access_key=a&secret@": "after a secret",
    "s3://bucket?endpoint=key:secret@host:9000": "begin with http",
    "s3://bucket?secret_access_key=a#secret@": "%23",
    "file:///srv/a#b": "%23",
}


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_invalid_url_is_refused_with_the_right_form_and_without_secrets(url: str):
    with pytest.raises(ValueError, match=BAD_URLS[url]) as refused:
        open_storage(url)
    assert "secret@" not in str(refused.value)


def test_the_environment_supplies_what_the_url_lacks(monkeypatch: pytest.MonkeyPatch):
    values: dict[str, str] = {
        "AWS_ENDPOINT_URL": "http://minio:9000",
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "env-key",
        "AWS_SECRET_ACCESS_KEY": "env+secret",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    sign: Callable[..., str | None] = open_storage("s3://lab/team?public_endpoint=https://files.example").presign
    url = sign(KEY, "a.json", "application/json", 60)
    assert url is not None
    assert url.startswith(f"https://files.example/lab/team/{KEY}?")
    assert "env-key%2F" in url
    assert "%2Feu-west-1%2Fs3%2F" in url


def test_a_key_in_the_url_is_not_combined_with_the_session_token_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of-another-account")
    seen: list[dict[str, str]] = []
    with answering(200, seen=seen) as url, pytest.raises(ObjectMissing):
        open_storage(url).head(KEY)
    assert "Credential=a/" in seen[0]["authorization"]
    assert "x-amz-security-token" not in seen[0]
    signed = open_storage(url).presign(KEY, "a.json", "application/json", 60)
    assert signed is not None
    assert "of-another-account" not in signed
