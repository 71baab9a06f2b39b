"""With storage in S3, downloads go straight to the bucket by a signed URL, without the service's key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.settings import Settings
from binnacle import Client
from tests.api import lives
from tests.api.conftest import PEPPER, Running
from tests.client.wire import Wire, cut_after
from tests.storage.conftest import bucket_url, s3_endpoint

__all__ = ["bucket_url", "s3_endpoint"]

DATA = b'{"aggregate": {}, "padding": "' + b"x" * 300_000 + b'"}\n'


@pytest.fixture
def bucket(s3_endpoint: str) -> Iterator[Wire]:
    """A relay to the S3 server; downloads pass through it."""
    wire = Wire(s3_endpoint)
    yield wire
    wire.close()


@pytest.fixture
def settings(database_url: str, broker_url: str, broker_prefix: str, bucket_url: str, bucket: Wire, tmp_path: Path) -> Settings:
    return Settings(
        database_url=database_url,
        broker_url=broker_url,
        broker_prefix=broker_prefix,
        storage_url=f"{bucket_url}&public_endpoint={bucket.url}",
        key_pepper=PEPPER,
        home=tmp_path,
    )


def test_a_download_from_the_bucket_resumes_and_never_sends_the_key(
    client: Client, key: str, bucket: Wire, api: Running, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    job = client.calibrate("demo")
    lives.succeed(sessions, api.context.storage, lives.claim(sessions), data=DATA)
    bucket.faults = [cut_after(100_000)]
    [path] = client.download_all(job, tmp_path / "to")
    assert path.read_bytes() == DATA
    assert client.calibration(job["id"])["aggregate"] == {}
    said = [connection.said.lower() for connection in bucket.connections]
    assert b"range: bytes=" in said[1]
    assert not any(key.lower().encode() in request or b"authorization:" in request for request in said)
