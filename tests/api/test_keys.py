"""Keys, users and groups over HTTP: made, narrowed, rotated and ended by administrators, known to every process within seconds."""

import logging
import threading
import time
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.audit.models import AuditEntry
from app.auth import keyring
from app.auth.models import ApiKey
from app.jobs.waiting import Wakeups
from tests.api.conftest import VERIFY, Running, submit
from tests.api.test_bad_input import problem
from tests.api.test_polling import wait_until


def opened(api: Running, key: str) -> httpx2.Client:
    """A client with this key."""
    return httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}, timeout=120, verify=VERIFY)


def status(api: Running, key: str, path: str = "/v1/jobs") -> int:
    """The status of a request with this key."""
    with opened(api, key) as client:
        return client.get(path).status_code


def make(admin: httpx2.Client, owner: str = "ada", **more: Any) -> dict[str, Any]:
    """Makes a key; returns the answer, which alone shows the key."""
    answer = admin.post("/v1/keys", json={"owner": owner, **more})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return dict(answer.json())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are looked up again after 0.2 s instead of 5 s."""
    monkeypatch.setattr(keyring, "LIFETIME", 0.2)
    monkeypatch.setattr(keyring, "RECHECK", 0.1)


def within(seconds: float, ask: Any) -> bool:
    """Whether `ask` returns a true value within these seconds."""
    ends = time.monotonic() + seconds
    while not (done := ask()) and time.monotonic() < ends:
        time.sleep(0.1)
    return bool(done)


def test_a_key_is_shown_once_and_may_do_what_its_scopes_and_its_role_both_allow(
    api: Running, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    made = make(admin, role="member", scopes=["read"], days=30, label="laptop")
    assert (made["scopes"], made["live"], made["label"]) == (["read"], True, "laptop")
    shown = admin.get(f"/v1/keys/{made['id']}")
    assert shown.json() == {name: value for name, value in made.items() if name != "key"}
    secret = made["key"].split("_")[2]
    listed = admin.get("/v1/keys", params={"owner": "ada"})
    assert secret not in shown.text + listed.text
    with sessions() as session:
        row = session.scalars(select(ApiKey).where(ApiKey.id == made["id"])).one()
        assert secret.encode() not in row.secret_hmac
        assert secret not in str([entry.details for entry in session.scalars(select(AuditEntry))])
    with opened(api, made["key"]) as reading:
        me = reading.get("/v1/me").json()
        assert (me["owner"], me["role"], me["scopes"], me["key_id"]) == ("ada", "member", ["read"], made["id"])
        refused = reading.post("/v1/calibrations", json={"model": "demo"})
        assert problem(refused, 403)["code"] == "forbidden"
        assert "scopes read, without submit" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"owner": "ada", "role": "viewer", "scopes": ["submit"]}, "scope_beyond_role"),
        ({"owner": "ada", "role": "member", "scopes": ["admin"]}, "scope_beyond_role"),
        ({"owner": "a b"}, "string_pattern_mismatch"),
        ({"owner": "me"}, "reserved_name"),
        ({"owner": "ada", "role": "king"}, "literal_error"),
        ({"owner": "ada", "scopes": ["everything"]}, "literal_error"),
        ({"owner": "ada", "scopes": []}, "too_short"),
        ({"owner": "ada", "days": 0}, "greater_than_equal"),
        ({"owner": "ada", "key": "bnk_mine"}, "unknown_field"),
    ],
)
def test_a_key_with_invalid_fields_is_not_made(admin: httpx2.Client, body: dict[str, Any], code: str) -> None:
    assert problem(admin.post("/v1/keys", json=body), 422)["errors"][0]["code"] == code


def test_a_rotated_key_and_its_successor_are_both_valid_until_the_overlap_ends(
    api: Running, admin: httpx2.Client, quick: None
) -> None:
    """The two live keys of one holder; the third is refused, so that a chain never has more."""
    old = make(admin, role="member", scopes=["read"], days=30, label="cron")
    new = admin.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_hours": 1}).json()
    assert (new["owner"], new["role"], new["scopes"], new["label"]) == ("ada", "member", ["read"], "cron")
    assert (new["replaces"], new["live"]) == (old["id"], True)
    assert [status(api, key["key"]) for key in (old, new)] == [200, 200]
    ending = admin.get(f"/v1/keys/{old['id']}").json()
    assert ending["live"]
    assert ending["expires_at"] < old["expires_at"] < new["expires_at"]
    again = problem(admin.post(f"/v1/keys/{old['id']}/rotate", json={}), 409)
    assert (again["code"], new["id"] in again["detail"]) == ("key_rotated", True)
    last = admin.post(f"/v1/keys/{new['id']}/rotate", json={"overlap_hours": 0}).json()
    assert within(60, lambda: status(api, new["key"]) == 401)
    assert status(api, last["key"]) == 200
    assert problem(admin.post(f"/v1/keys/{new['id']}/rotate"), 409)["code"] == "key_not_live"


def test_a_key_without_an_end_is_rotated_to_one_without(admin: httpx2.Client) -> None:
    old = make(admin)
    assert admin.post(f"/v1/keys/{old['id']}/rotate").json()["expires_at"] is None
    assert admin.get(f"/v1/keys/{old['id']}").json()["expires_at"] is not None


def test_an_administrator_cannot_revoke_the_own_key_or_disable_the_own_user(admin: httpx2.Client) -> None:
    me = admin.get("/v1/me").json()
    assert problem(admin.post(f"/v1/keys/{me['key_id']}/revoke"), 409)["code"] == "own_key"
    assert problem(admin.patch("/v1/users/root", json={"disabled": True}), 409)["code"] == "own_user"
    assert admin.get("/v1/me").status_code == 200


def test_a_revoked_key_is_refused_within_five_seconds_with_what_streams_and_waits_under_it(
    api: Running, admin: httpx2.Client
) -> None:
    """With the service's own times: a stream ends, a long poll and the next request are refused."""
    made = make(admin)
    with opened(api, made["key"]) as ada:
        job = submit(ada)["links"]["self"]
        ended: dict[str, Any] = {}

        def follow() -> None:
            with ada.stream("GET", f"{job}/events", headers={"Accept": "text/event-stream"}, timeout=60) as answer:
                ended["events"] = [line for line in answer.iter_lines() if line.startswith("event:")]
            ended["at"] = time.monotonic()

        def wait() -> None:
            ended["poll"] = httpx2.get(f"{api.url}{job}?wait=60", headers=dict(ada.headers), timeout=120).status_code

        threads = [threading.Thread(target=follow), threading.Thread(target=wait)]
        for thread in threads:
            thread.start()
        wait_until(lambda: api.context.part(Wakeups).watched() == 2)
        assert admin.post(f"/v1/keys/{made['id']}/revoke").json()["live"] is False
        revoked = time.monotonic()
        assert within(60, lambda: status(api, made["key"]) == 401)
        for thread in threads:
            thread.join(120)
        assert ended["poll"] == 401
        assert ended["events"][-1] == "event: reconnect"
        assert ended["at"] - revoked < 5 + 40, "five seconds, and a busy machine's share; alone it would end after ten minutes"
    assert admin.post(f"/v1/keys/{made['id']}/revoke").status_code == 200, "revoking twice is no error"


def test_a_disabled_users_keys_open_nothing_until_the_user_is_enabled(api: Running, admin: httpx2.Client, quick: None) -> None:
    made = make(admin, "carl")
    assert status(api, made["key"]) == 200
    assert admin.patch("/v1/users/carl", json={"disabled": True}).json()["disabled_at"] is not None
    assert within(60, lambda: status(api, made["key"]) == 401)
    assert admin.get(f"/v1/keys/{made['id']}").json()["live"] is False
    assert problem(admin.post("/v1/keys", json={"owner": "carl"}), 409)["code"] == "user_disabled"
    assert problem(admin.post(f"/v1/keys/{made['id']}/rotate"), 409)["code"] == "user_disabled"
    admin.patch("/v1/users/carl", json={"disabled": False})
    assert within(60, lambda: status(api, made["key"]) == 200)


def test_users_and_groups_are_made_once_listed_and_ended(api: Running, admin: httpx2.Client) -> None:
    for name in ("carl", "bea"):
        assert admin.post("/v1/users", json={"name": name}).json()["live_keys"] == 0
    assert problem(admin.post("/v1/users", json={"name": "bea"}), 409)["code"] == "user_exists"
    error = problem(admin.post("/v1/users", json={"name": "me"}), 422)["errors"][0]
    assert (error["code"], error["pointer"]) == ("reserved_name", "/name")  # ?user=me and ?owner=me are the caller
    assert admin.post("/v1/groups", json={"name": "interp"}).json()["members"] == []
    assert problem(admin.post("/v1/groups", json={"name": "interp"}), 409)["code"] == "group_exists"
    for name in ("carl", "bea", "bea"):
        assert admin.put(f"/v1/groups/interp/members/{name}").status_code == 200
    assert problem(admin.put("/v1/groups/interp/members/nobody"), 404)
    assert problem(admin.put("/v1/groups/none/members/bea"), 404)
    assert [group["members"] for group in admin.get("/v1/groups").json()["items"]] == [["bea", "carl"]]
    assert admin.get("/v1/users/bea").json()["groups"] == ["interp"]
    first = admin.get("/v1/users", params={"limit": 2}).json()
    rest = admin.get("/v1/users", params={"cursor": first["next_cursor"]}).json()
    assert [user["name"] for user in first["items"] + rest["items"]] == ["bea", "carl", "root"]
    assert admin.delete("/v1/groups/interp/members/bea").status_code == 204
    assert problem(admin.delete("/v1/groups/interp/members/bea"), 404)
    assert admin.delete("/v1/groups/interp").status_code == 204
    assert admin.get("/v1/users/carl").json()["groups"] == []


def test_keys_are_in_no_log_and_no_address(
    api: Running, admin: httpx2.Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also after requests that fail, are refused, or send the key in the address."""
    caplog.set_level(logging.DEBUG)
    made = make(admin)
    secret = made["key"].split("_")[2]
    with opened(api, made["key"]) as ada:
        ada.get("/v1/jobs")
        ada.get("/v1/nothing")
        ada.post("/v1/calibrations", json={"model": made["key"]})
        for path in (f"/v1/jobs?key={made['key']}", f"/v1/jobs/{made['key']}", f"/v1/traits/{made['key']}"):
            refused = problem(ada.get(path), 400)
            assert refused["code"] == "key_in_address"
            assert secret not in str(refused)
    admin.post(f"/v1/keys/{made['id']}/rotate")
    ours = [
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpcore", "httpx"))
    ]  # not the test's client
    said = "\n".join([*ours, *capfd.readouterr()])
    assert "request" in said
    assert secret not in said
    for operations in admin.get("/openapi.json").json()["paths"].values():
        for told in operations.values():
            names = {one["name"].lower() for one in told.get("parameters", []) if one["in"] in ("query", "path")}
            assert not names & {"api_key", "access_token", "token", "secret", "authorization"}
