"""Fixtures of both kinds of storage: a folder, and a bucket on a local server of moto."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from app.storage.base import Storage
from app.storage.factory import open_storage

_numbers = itertools.count(1)
KEYS = {"aws_access_key_id": "test-key", "aws_secret_access_key": "test/secret+1"}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of a local S3 server. It accepts any signature; `test_presign.py` checks signatures."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket_url(s3_endpoint: str) -> str:
    """STORAGE_URL of a new bucket."""
    name = f"bucket-{next(_numbers)}"
    boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1", **KEYS).create_bucket(Bucket=name)
    return f"s3://{name}/lab/one?endpoint={s3_endpoint}&region=us-east-1&access_key_id=test-key&secret_access_key=test/secret+1"


@pytest.fixture
def s3(bucket_url: str) -> Storage:
    return open_storage(bucket_url)


@pytest.fixture
def local(tmp_path: Path) -> Storage:
    return open_storage(f"file://{tmp_path}/objects")


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """Runs the test once with each kind of storage."""
    return request.getfixturevalue(request.param)
