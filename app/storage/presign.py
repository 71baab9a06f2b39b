"""Creates presigned GET URLs (AWS Signature Version 4 in the query), with the response headers that S3 sends.

obstore's signer accepts no extra query parameters; without `response-content-disposition`, a download through a redirect would be named by
its digest. Source: "Authenticating Requests: Using Query Parameters" in the S3 API reference. Tests compare the result with two other
signers.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret; `token` for temporary credentials."""

    key_id: str
    secret: str
    token: str | None = None


def presigned_get(
    url: str, credentials: Credentials, *, region: str, seconds: int, now: datetime, response_headers: dict[str, str]
) -> str:
    """Returns `url` signed so that anyone may GET it until `now` (UTC) + `seconds`.

    `url` has no query and an unescaped path. `response_headers` are S3's overrides: `{"response-content-type": "application/json"}`.
    """
    parts = urlsplit(url)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{credentials.key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": credentials.token} if credentials.token else {}),
        **response_headers,
    }
    path = _escaped(parts.path, safe="/")
    pairs = "&".join(f"{_escaped(name)}={_escaped(value)}" for name, value in sorted(query.items()))
    request = "\n".join(["GET", path, pairs, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{parts.scheme}://{parts.netloc}{path}?{pairs}&X-Amz-Signature={signature}"


def _escaped(value: str, safe: str = "") -> str:
    return quote(value, safe=f"-_.~{safe}")
