"""Control characters and lone surrogates in every string of every body are refused; no odd body, query or header causes a 500."""

import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.api.process import ApiProcess
from tests.hostile.conftest import refused
from tests.hostile.routes import address, operations, placed, schema_of, strings, without_effect

BAD = {
    "NUL": "a\x00b",
    "escape": "a\x1b[31mb",
    "backspace": "a\x08b",
    "delete": "a\x7fb",
    "high surrogate": "a\ud800b",
    "low surrogate": "a\udfffb",
    "reversed pair": "\udc00\ud800",
}
ODD = ("\u202eabc", "\uffff", "\U0010ffff", "e" + "\u0301" * 2000, "\u200b")
"""Right to left, a noncharacter, the last code point, 2,000 accents, a space of no width: all are valid text."""
CHANGING = [one for one in operations() if "application/json" in one[2].get("requestBody", {}).get("content", {})]
"""(method, path, operation) of everything that takes a JSON body."""
WITH_STRINGS = [one for one in CHANGING if any(strings(schema_of(one[2])))]
JSON = {"Content-Type": "application/json"}


def a_body(told: dict[str, Any]) -> dict[str, Any]:
    """The operation's example in openapi.json, else an empty body."""
    content = told["requestBody"]["content"]["application/json"]
    for one in content.get("examples", {}).values():
        return dict(one["value"])
    schema = schema_of(told)
    return dict((content.get("example") or next(iter(schema.get("examples", ())), None)) or {})


def counts(api: ApiProcess) -> dict[str, int]:
    """The number of rows of each table, without those of keys, the audit log and usage."""
    with api.sessions() as session:
        names = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        told = [name for name in names if not name.startswith(("api_key", "audit", "usage", "alembic"))]
        return {name: session.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in told}


@pytest.mark.parametrize(("method", "path", "told"), WITH_STRINGS, ids=[f"{method} {path}" for method, path, _ in WITH_STRINGS])
def test_no_string_in_a_body_may_hold_a_control_character_or_a_lone_surrogate(
    api: ApiProcess, admin: httpx2.Client, method: str, path: str, told: dict[str, Any]
) -> None:
    """Sent as JSON escapes, which is how they get past everything that reads bytes."""
    schema, base, before = schema_of(told), a_body(told), counts(api)
    places = list(dict.fromkeys(strings(schema)))
    for place in places:
        for bad in BAD.values():
            body = json.dumps(placed(schema, base, place, bad))
            refused(admin.request(method, address(path), content=body, headers=JSON), 404, 409, 422)
    assert counts(api) == before


@pytest.mark.parametrize(("method", "path", "told"), CHANGING, ids=[f"{method} {path}" for method, path, _ in CHANGING])
def test_unusual_text_in_a_body_causes_no_server_error(
    api: ApiProcess, admin: httpx2.Client, method: str, path: str, told: dict[str, Any]
) -> None:
    schema, base = schema_of(told), a_body(told)
    for place in dict.fromkeys(strings(schema)):
        for odd in ODD:
            body = json.dumps(placed(schema, base, place, odd))
            answer = admin.request(method, address(path), content=body, headers=JSON, params=without_effect(told))
            if answer.status_code >= 300:
                refused(answer)


QUERIES = [
    (path, one["name"])
    for method, path, told in operations()
    for one in told.get("parameters", ())
    if method == "GET" and one["in"] == "query"
]
PERCENT = (
    "%00", "%ED%A0%80", "%FF%FE", "%1B%5B31m", "%0D%0AX-Injected:%201", "%25%30%30", "9" * 400, "-1", "1e999", "NaN", "%F0%9F%92%A9" * 200,
)  # fmt: skip


@pytest.mark.parametrize("value", PERCENT)
def test_no_query_causes_a_server_error(api: ApiProcess, admin: httpx2.Client, value: str) -> None:
    """Every query parameter of every route."""
    for path, name in QUERIES:
        answer = admin.get(f"{address(path)}?{name}={value}")
        assert "X-Injected" not in answer.headers
        if answer.status_code >= 300:
            refused(answer)


HEADERS = (
    "Idempotency-Key",
    "X-Request-ID",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    "Accept",
    "Content-Type",
    "Authorization",
    "Cookie",
)
VALUES = (
    b"", b"\xff\xfe", b"\xe9", b"a" * 20_000, b'"' * 1000, b"*", b"," * 1000, b"bytes=" + b"9" * 30 + b"-", b"-9223372036854775809",
)  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_no_header_causes_a_server_error(api: ApiProcess, admin: httpx2.Client, name: str) -> None:
    job = admin.post("/v1/calibrations", json={"model": "demo"}).json()["id"]
    requests = [
        ("GET", f"/v1/jobs/{job}", None),
        ("GET", f"/v1/jobs/{job}/events", None),
        ("POST", "/v1/calibrations?dry_run=true", b'{"model":"demo"}'),
    ]
    for value in VALUES:
        for method, path, content in requests:
            kind = {"Content-Type": b"application/json"} if content else {}
            answer = admin.request(method, path, content=content, headers={**kind, name: value})
            if answer.status_code >= 400:
                refused(answer)
