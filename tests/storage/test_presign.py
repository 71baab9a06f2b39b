"""Presigned S3 URLs have the same signatures as those of obstore and botocore, and serve the object from a server."""

import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import obstore
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from obstore.store import S3Store

from app.storage.base import Storage
from app.storage.presign import Credentials, presigned_get

KEY = "sha256/" + "ab" * 32
SECRET = "Pl/us+and/slash="


def parameter(url: str, name: str) -> str:
    return parse_qs(urlsplit(url).query)[name][0]


def test_the_signature_equals_that_of_obstore():
    store = S3Store(
        "bucket",
        endpoint="https://store.example:9000",
        region="eu-central-1",
        access_key_id="AK",
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
    )
    theirs = obstore.sign(store, "GET", KEY, timedelta(seconds=300))
    now = datetime.strptime(parameter(theirs, "X-Amz-Date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = presigned_get(
        f"https://store.example:9000/bucket/{KEY}",
        Credentials("AK", SECRET),
        region="eu-central-1",
        seconds=300,
        now=now,
        response_headers={},
    )
    assert parameter(ours, "X-Amz-Signature") == parameter(theirs, "X-Amz-Signature")


@pytest.mark.parametrize("token", [None, "session/token+="])
def test_the_signature_with_response_headers_equals_that_of_botocore(token: str | None):
    headers = {
        "response-content-disposition": "attachment; filename=\"a b.json\"; filename*=UTF-8''%C3%A9.json",
        "response-content-type": "application/json; charset=utf-8",
    }
    url = f"https://store.example:9000/bucket/lab one/{KEY}"
    request = AWSRequest(method="GET", url=quote(url, safe=":/"), params=headers)
    S3SigV4QueryAuth(BotoCredentials("AK", SECRET, token), "s3", "us-east-1", expires=60).add_auth(request)
    now = datetime.strptime(parameter(request.url, "X-Amz-Date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = presigned_get(url, Credentials("AK", SECRET, token), region="us-east-1", seconds=60, now=now, response_headers=headers)
    assert parameter(ours, "X-Amz-Signature") == parameter(request.url, "X-Amz-Signature")


def test_a_presigned_url_serves_ranges_under_the_given_file_name(s3: Storage):
    data = bytes(range(256)) * 40
    key = "sha256/" + hashlib.sha256(data).hexdigest()
    s3.put(key, data)
    url = s3.presign(key, "kalibrierung ä.json", "application/json", 300)
    assert url is not None
    whole = httpx2.get(url, timeout=120)
    assert whole.content == data
    assert whole.headers["content-type"] == "application/json"
    assert "filename*=UTF-8''kalibrierung%20%C3%A4.json" in whole.headers["content-disposition"]
    part = httpx2.get(url, headers={"Range": "bytes=300-309"}, timeout=120)
    assert (part.status_code, part.content) == (206, data[300:310])


def test_a_folder_has_no_presigned_urls(local: Storage):
    assert local.presign(KEY, "a.json", "application/json", 300) is None
