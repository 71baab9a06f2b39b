"""Malformed headers, sent as raw bytes because no client library would send them, never cause a server error; a malformed Host is a 400."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.api.process import ApiProcess

LONG = b"9" * 5000
HOSTS = (
    b"[", b"[::1", b"]", b"[x]", b"a:b", b"a:99999", b"a:-1", b"a b", b"\xe9", b"a@b", b"a/b", b"a?b", b"a#b", b"\x01", b"a:" + LONG,
    b"\xe2\x84\x80",
)  # fmt: skip
OTHERS: dict[bytes, tuple[bytes, ...]] = {
    b"Range": (b"bytes=" + LONG + b"-", b"bytes=-" + LONG, b"bytes=5-2", b"bytes=a-b", b"bytes=0-0," * 900, b"lines=1-2", b"bytes=\xff-"),
    b"If-Range": (b"*", b'"', b"Wed, 99 Foo 2026", b"\xff"),
    b"If-None-Match": (b'"', b"W/", b"," * 5000, b"\xff", b"*, *", b'"a' * 2000),
    b"Content-Type": (b"application/json; charset=\xff", b"application/json;" * 500, b"/", b";", b"multipart/form-data",
                      b"multipart/form-data; boundary=",
                      b"multipart/form-data; boundary=\xff", b'application/json; charset="'),
    b"Content-Length": (LONG, b"-1", b"0x10", b"1_0", b"+1", b" ", b"1, 2", b"NaN", b"\xb2"),
    b"Transfer-Encoding": (b"gzip", b"chunked, gzip", b"\xff", b"x"),
    b"Last-Event-ID": (LONG, b"-1", b"1e400", b"NaN", b"\xff", b"true", b"9223372036854775808", b"\xb2"),
    b"Idempotency-Key": (b"\xff", b"a b", b"a" * 256, b"\x1b"),
    b"Authorization": (b"Bearer", b"Bearer \xff", b"Basic \xff", b"Bearer bnk_", b"Bearer " + b"a" * 9000, b"\x01", b"Digest ="),
    b"X-Forwarded-For": (b"\xff", b"[", b"999.1.1.1", b"a" * 9000),
    b"X-Forwarded-Proto": (b"\xff", b"javascript", b"["),
    b"X-Forwarded-Host": (b"[", b"\xff"),
    b"Forwarded": (b"for=\xff", b"for=[", b'host="["'),
    b"Accept-Encoding": (b"gzip;q=NaN", b"\xff"),
    b"Expect": (b"\xff", b"200-ok"),
    b"Upgrade": (b"websocket", b"\xff", b"h2c"),
    b"X-Request-ID": (b"\xff", b"a\x1b[31m", b"a" * 9000),
    b"Traceparent": (b"\xff",),
}  # fmt: skip
CASES = [(b"Host", one) for one in HOSTS] + [(name, one) for name, values in OTHERS.items() for one in values]
PATHS = (("GET", "/v1/jobs"), ("GET", "/v1/nothing"), ("GET", "/livez"), ("POST", "/v1/calibrations?dry_run=true"))


def status_line(api: ApiProcess, key: str, method: str, path: str, name: bytes, value: bytes) -> bytes:
    """The first line of the answer; empty when the server cut the connection."""
    body = b'{"model":"demo"}' if method == "POST" else b""
    headers = {b"Host": b"localhost", b"Authorization": f"Bearer {key}".encode(), b"Connection": b"close"}
    if body:
        headers |= {b"Content-Type": b"application/json", b"Content-Length": str(len(body)).encode()}
    headers[name] = value
    head = b"".join(b"%s: %s\r\n" % one for one in headers.items())
    where = urlsplit(api.url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=120) as wire:
        wire.sendall(f"{method} {path} HTTP/1.1\r\n".encode() + head + b"\r\n" + body)
        wire.shutdown(socket.SHUT_WR)
        found = b""
        while chunk := wire.recv(65536):
            found += chunk
    return found.split(b"\r\n", 1)[0]


@pytest.mark.parametrize(("name", "value"), CASES, ids=[f"{name.decode()}-{i}" for i, (name, _) in enumerate(CASES)])
def test_no_header_causes_a_server_error_and_a_malformed_host_is_refused(api: ApiProcess, name: bytes, value: bytes) -> None:
    key = api.key("ada")
    for method, path in PATHS:
        line = status_line(api, key, method, path, name, value)
        assert line == b"" or 100 <= int(line.split()[1]) < 500, (method, path, line)
        if name == b"Host" and line:
            assert line.split()[1] == b"400", (method, path, line)
