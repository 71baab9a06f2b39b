"""Opens the object store that `STORAGE_URL` names."""

import os
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from app.storage.base import Storage
from app.storage.local import LocalStorage
from app.storage.presign import Credentials
from app.storage.s3 import Bucket, S3Storage

# Each query option of an S3 URL, and the environment variable used when the option is missing.
_OPTIONS = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "public_endpoint": (),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "access_key_id": ("AWS_ACCESS_KEY_ID",),
    "secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
}


def open_storage(url: str) -> Storage:
    """Opens the store at `file:///folder` or `s3://bucket/prefix?endpoint=https://host:9000&region=...`.

    The query may also contain `public_endpoint` (the endpoint as downloaders reach it, if different), `access_key_id`, `secret_access_key`
    and `session_token`, percent-encoded; missing options come from AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_SESSION_TOKEN. Raises ValueError, without secrets in its text, for any other URL, and StorageDenied for a folder that it may not
    create.
    """
    if "#" in url:
        raise ValueError("STORAGE_URL contains a #, which would cut it off there; write it as %23")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"STORAGE_URL cannot be read ({error}); use file:///folder or s3://bucket/prefix") from None
    if parts.scheme == "file":
        return LocalStorage(_folder(parts))
    if parts.scheme == "s3":
        return S3Storage(_bucket(parts))
    raise ValueError(f"STORAGE_URL has the scheme {parts.scheme!r}; use file:///folder or s3://bucket/prefix")


def _folder(parts: SplitResult) -> Path:
    if parts.netloc or parts.query or parts.path in ("", "/"):
        raise ValueError(
            "STORAGE_URL must be file:// and an absolute folder, with three slashes: file:///var/lib/binnacle/objects"
        )
    return Path(unquote(parts.path))


def _bucket(parts: SplitResult) -> Bucket:
    if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
        raise ValueError("STORAGE_URL must be s3://bucket/prefix; host and keys go into its query: ?endpoint=https://host:9000")
    options = _options(parts.query)
    region = options.get("region", "us-east-1")
    endpoint = options.get("endpoint", f"https://s3.{region}.amazonaws.com").rstrip("/")
    public_endpoint = options.get("public_endpoint", endpoint).rstrip("/")
    for name, value in (("endpoint", endpoint), ("public_endpoint", public_endpoint)):
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"STORAGE_URL: {name} must begin with http:// or https://")
    credentials = None
    if "access_key_id" in options and "secret_access_key" in options:
        credentials = Credentials(options["access_key_id"], options["secret_access_key"], options.get("session_token"))
    return Bucket(parts.netloc, parts.path.strip("/"), endpoint, public_endpoint, region, credentials)


def _options(query: str) -> dict[str, str]:
    """Returns the options of the query, completed from the environment. A plus sign is kept, because secrets contain plus signs that users do
    not encode.
    """
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    given = {name: unquote(value) for name, _, value in pairs}
    names = list(given)
    if unknown := [name for name in names if name not in _OPTIONS]:
        # After a secret this may be the rest of it, cut off by an & in it.
        hidden = {"secret_access_key", "session_token"} & set(names[: names.index(unknown[0])])
        said = (
            "an unknown option after a secret (write an & in a secret as %26)" if hidden else f"the unknown option {unknown[0]!r}"
        )
        raise ValueError(f"STORAGE_URL has {said}; its options are {', '.join(_OPTIONS)}")
    # Key, secret and token belong together: a key from the URL must not be combined with a token from the environment.
    own_key = "access_key_id" in given
    from_environment = {
        name: os.environ[variable]
        for name, variables in _OPTIONS.items()
        for variable in reversed(variables)
        if variable in os.environ and not (own_key and name in {"secret_access_key", "session_token"})
    }
    return {**from_environment, **given}
