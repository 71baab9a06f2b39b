"""Administrative acts leave an entry each, in their own transaction: who, with which key, what, on what, in which request."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.audit import service as audit
from app.audit.models import AuditEntry
from app.auth.viewer import Viewer
from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail
from tests.api.test_bad_input import problem


def entries(admin: httpx2.Client, **filters: Any) -> list[dict[str, Any]]:
    return list(admin.get("/v1/audit", params=filters).json()["items"])


def test_every_kind_of_act_is_recorded_with_who_and_in_which_request(
    api: Running, admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    key = admin.post("/v1/keys", json={"owner": "carl"}).json()["id"]
    other = admin.post(f"/v1/keys/{key}/rotate").json()["id"]
    admin.post(f"/v1/keys/{other}/revoke")
    admin.post("/v1/users", json={"name": "bea"})
    admin.patch("/v1/users/bea", json={"disabled": True})
    admin.patch("/v1/users/bea", json={"disabled": False})
    admin.post("/v1/groups", json={"name": "interp"})
    admin.put("/v1/groups/interp/members/ada")
    admin.delete("/v1/groups/interp/members/ada")
    admin.delete("/v1/groups/interp")
    admin.post("/v1/models", json={"name": "new", "source": "/models/new"})
    fail(sessions, claim(sessions, "light"))
    admin.post("/v1/models/new/inspect")
    fail(sessions, claim(sessions, "light"))
    admin.delete("/v1/models/new")
    admin.post("/v1/judges", json={"name": "j", "kind": "local", "model": "demo"})
    admin.delete("/v1/judges/j")
    path = submit(ada)["links"]["self"]
    ada.patch(path, json={"visibility": "public"})
    admin.patch(path, json={"name": "theirs"})
    admin.post(f"{path}/cancel")
    admin.post(f"{path}/retry", headers={"X-Request-ID": "lab-42"})
    found = entries(admin, limit=100)
    assert [one["action"] for one in reversed(found)] == [
        "user.create", "key.create", "key.rotate", "key.revoke", "user.create", "user.disable", "user.enable", "group.create",
        "group.add", "group.remove", "group.delete", "model.register", "model.inspect", "model.delete", "judge.add", "judge.delete",
        "visibility.set", "job.edit", "job.cancel", "job.retry",
    ]  # fmt: skip
    root = admin.get("/v1/me").json()["key_id"]
    assert {(one["actor"], one["key_id"]) for one in found if one["action"] != "visibility.set"} == {("root", root)}
    assert {one["outcome"] for one in found} == {"done"}
    last, shown = found[0], entries(admin, action="visibility")[0]
    assert (last["request_id"], last["object"], last["details"]["owner"]) == ("lab-42", path.removeprefix("/v1/jobs/"), "ada")
    assert (shown["actor"], shown["details"]["before"]) == ("ada", {"visibility": "private", "group": None})
    assert all(one["request_id"].startswith("req_") for one in found[1:])


def test_acts_on_own_objects_and_failed_acts_leave_no_entry(admin: httpx2.Client, ada: httpx2.Client) -> None:
    path = submit(ada)["links"]["self"]
    ada.patch(path, json={"name": "mine", "visibility": "private"})
    ada.post(f"{path}/cancel")
    ada.post(f"{path}/retry")
    assert problem(admin.delete("/v1/judges/none"), 404)
    assert problem(admin.post("/v1/keys/00000000/revoke"), 404)
    assert entries(admin) == []


def test_an_attempt_without_an_administrators_key_is_kept_as_denied(admin: httpx2.Client, ada: httpx2.Client) -> None:
    assert problem(ada.post("/v1/keys", json={"owner": "ada", "role": "admin"}), 403)["code"] == "forbidden"
    [denied] = entries(admin, outcome="denied")
    assert (denied["actor"], denied["action"], denied["object"]) == ("ada", "administer", "POST /v1/keys")
    assert problem(ada.get("/v1/audit"), 403)


def test_an_act_that_is_rolled_back_leaves_no_entry(sessions: sessionmaker[Session]) -> None:
    def act_and_fail() -> None:
        with sessions.begin() as session:
            audit.record(session, Viewer("root", "admin"), "key.revoke", "x")
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act_and_fail()
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == 0


def test_entries_are_filtered_and_paged_newest_first(admin: httpx2.Client) -> None:
    for name in ("a", "b", "c"):
        admin.post("/v1/groups", json={"name": name})
    admin.delete("/v1/groups/b")
    assert [one["object"] for one in entries(admin, action="group")] == ["b", "c", "b", "a"]
    assert [one["object"] for one in entries(admin, action="group.create")] == ["c", "b", "a"]
    assert [one["action"] for one in entries(admin, object="b")] == ["group.delete", "group.create"]
    assert entries(admin, action="grou") == entries(admin, actor="nobody") == []
    first = admin.get("/v1/audit", params={"limit": 3}).json()
    rest = admin.get("/v1/audit", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [one["object"] for one in first["items"] + rest["items"]] == ["b", "c", "b", "a"]
    middle = first["items"][1]["at"]
    assert [one["object"] for one in entries(admin, since=middle)] == ["b", "c"]
    assert [one["object"] for one in entries(admin, until=middle)] == ["b", "a"]
    assert problem(admin.get("/v1/audit", params={"since": "yesterday"}), 422)
