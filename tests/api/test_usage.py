"""Use of disk (each object counted once per user) and devices (by day); members see their own use, administrators all."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import app.schema  # noqa: F401 - every table
from app.quotas import usage_repository as repository
from app.storage.blobs import referencing_columns
from tests.api.conftest import Running, submit
from tests.api.lives import claim, succeed


def test_every_reference_to_an_object_is_counted() -> None:
    """A table that comes to refer to objects must come into the statements about bytes too."""
    known = {"job_cells.digest", "artifacts.digest", "vectors.digest", "traits.version"}
    assert {f"{column.table.name}.{column.name}" for column in referencing_columns()} == known
    for name in known:
        assert name.split(".")[0] in repository._REFERENCES


def test_bytes_count_once_for_each_user_who_refers_to_them(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    storage = api.context.storage
    before = admin.get("/v1/usage").json()["on_disk_bytes"]  # the traits that ship with the service
    with api.client("bob") as bob:
        for client, data in [(ada, b"a" * 100), (ada, b"a" * 100), (bob, b"a" * 100), (bob, b"b" * 7)]:
            submit(client)
            succeed(sessions, storage, claim(sessions), data=data)
        own = bob.get("/v1/usage").json()
    assert [(one["user"], one["stored_bytes"], one["shared_bytes"], one["objects"]) for one in own["items"]] == [
        ("bob", 107, None, 2)
    ], "shared bytes would tell bob whether somebody has the very same file"
    assert own["on_disk_bytes"] is None
    everybodys = admin.get("/v1/usage").json()
    assert everybodys["on_disk_bytes"] - before == 107
    by_user = {one["user"]: one for one in everybodys["items"]}
    assert {user: (by_user[user]["stored_bytes"], by_user[user]["shared_bytes"]) for user in ("ada", "bob")} == {
        "ada": (100, 100),
        "bob": (107, 100),
    }
    [alone] = admin.get("/v1/usage", params={"user": "bob"}).json()["items"]
    assert by_user["bob"] | {"running_seconds": 0} == alone | {"running_seconds": 0}, "one user's account is the same alone"


def test_device_time_is_booked_by_user_day_and_class_and_outlives_the_jobs(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    for _ in range(2):
        submit(ada)
        succeed(sessions, api.context.storage, claim(sessions))
    submit(ada)
    claim(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET started_at = now() - interval '50 s' WHERE state = 'running'"))
        session.execute(
            text("INSERT INTO usage_days SELECT owner, day - 3, 'light', 9, 2 FROM usage_days WHERE job_class = 'model'")
        )
    submit(ada)
    used = ada.get("/v1/usage?days=7").json()
    [mine] = used["items"]
    today = datetime.now(UTC).date()
    assert used["since"] == str(today - timedelta(days=6))
    assert [(day["day"], day["device_seconds"], day["light_seconds"], day["attempts"]) for day in mine["days"]] == [
        (str(today - timedelta(days=3)), 0, 9, 2),
        (str(today), 4.0, 0, 2),
    ]
    assert (mine["queued"], mine["running"]) == (1, 1)
    assert 50 <= mine["running_seconds"] < 110
    assert mine["device_seconds_today"] == pytest.approx(4.0 + mine["running_seconds"], abs=0.01)
    assert mine["device_seconds"] == pytest.approx(4.0 + mine["running_seconds"], abs=0.01), "no less than today's alone"
    assert mine["limits"]["max_queued"] == 10_000
    assert [day["day"] for day in ada.get("/v1/usage?days=1").json()["items"][0]["days"]] == [str(today)]


def test_members_cannot_see_the_use_of_others(api: Running, ada: httpx2.Client, admin: httpx2.Client) -> None:
    submit(ada)
    with api.client("bob") as bob:
        assert bob.get("/v1/usage", params={"user": "ada"}).status_code == 404
        assert [one["user"] for one in bob.get("/v1/usage").json()["items"]] == ["bob"]
        assert [one["user"] for one in bob.get("/v1/usage?user=me").json()["items"]] == ["bob"]
    assert [one["user"] for one in admin.get("/v1/usage?user=ada").json()["items"]] == ["ada"]
    assert admin.get("/v1/usage?days=0").status_code == 422


def test_use_of_a_deleted_user_is_shown_while_there_is_some(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Traits that ship with the service belong to none of its users."""
    with sessions.begin() as session:
        session.execute(
            text("INSERT INTO usage_days (owner, day, job_class, device_seconds, attempts) VALUES ('gone', now(), 'light', 9, 2)")
        )
    assert [one["user"] for one in admin.get("/v1/usage?user=gone").json()["items"]] == ["gone"]
    assert [one["user"] for one in admin.get("/v1/usage?user=root").json()["items"]] == ["root"]  # a user without use
    assert admin.get("/v1/usage?user=nobody").status_code == 404
