"""Quotas: who sets them, what they refuse with which words, and that submissions at the same time do not exceed them together."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.formats.registry import write_vectors
from app.quotas.repository import LOCK
from app.quotas.usage_repository import stored_bytes
from tests.api.conftest import Running, submit
from tests.api.lives import claim, succeed
from tests.api.test_vector_import import ORIGIN, named, send
from tests.counting import statements

CALIBRATION = {"model": "demo"}


def _limit(admin: httpx2.Client, user: str | None = "ada", **limits: Any) -> dict[str, Any]:
    """Sets the limits of this user, or of all users."""
    response = admin.put("/v1/quotas" if user is None else f"/v1/quotas/{user}", json=limits)
    assert response.status_code == 200, response.text
    return dict(response.json())


def _refused(response: httpx2.Response, code: str) -> dict[str, Any]:
    """Checks that the answer is 429 with this code; returns its body."""
    assert response.status_code == 429, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert int(response.headers["Retry-After"]) > 0
    body = dict(response.json())
    assert body["code"] == code
    return body


def _count(sessions: sessionmaker[Session], owner: str = "ada") -> int:
    """The number of jobs of this user."""
    with sessions() as session:
        return int(session.scalar(text("SELECT count(*) FROM jobs WHERE owner = :owner"), {"owner": owner}) or 0)


@pytest.fixture
def bob(api: Running) -> Iterator[httpx2.Client]:
    with api.client("bob") as client:
        yield client


def test_a_users_limit_goes_before_everybodys_and_everybodys_before_the_built_in_one(
    ada: httpx2.Client, admin: httpx2.Client
) -> None:
    built_in = {"max_queued": 10_000, "max_running": None, "device_seconds_per_day": None, "stored_bytes": None}
    assert ada.get("/v1/quotas/ada").json()["limits"] == built_in
    _limit(admin, None, max_queued=50, max_running=4)
    own = _limit(admin, "ada", max_running="unlimited", stored_bytes=10)
    assert own["limits"] == {"max_queued": 50, "max_running": None, "device_seconds_per_day": None, "stored_bytes": 10}
    assert own["said"] == {"max_queued": None, "max_running": "unlimited", "device_seconds_per_day": None, "stored_bytes": 10}
    assert (own["user"], own["changed_by"]) == ("ada", "root")
    listed = admin.get("/v1/quotas").json()
    assert listed["default"]["limits"]["max_queued"] == 50
    assert [one["user"] for one in listed["items"]] == ["ada"]
    assert admin.delete("/v1/quotas/ada").status_code == 204
    assert ada.get("/v1/quotas/ada").json()["limits"] == built_in | {"max_queued": 50, "max_running": 4}
    assert admin.delete("/v1/quotas/ada").status_code == 404


def test_only_administrators_set_quotas_and_every_change_is_recorded(ada: httpx2.Client, admin: httpx2.Client) -> None:
    assert ada.put("/v1/quotas/ada", json={"max_queued": 10**6}).status_code == 403
    assert ada.put("/v1/quotas", json={}).status_code == 403
    assert ada.delete("/v1/quotas/ada").status_code == 403
    assert ada.get("/v1/quotas").status_code == 403
    assert ada.get("/v1/quotas/bob").status_code == 404
    for answer in (admin.put("/v1/quotas/nobody", json={}), admin.get("/v1/quotas/nobody"), admin.get("/v1/usage?user=nobody")):
        assert answer.status_code == 404
    _limit(admin, max_queued=5)
    admin.delete("/v1/quotas/ada")
    entries = [one for one in admin.get("/v1/audit").json()["items"] if one["action"].startswith("quota.")]
    assert [(one["action"], one["object"], one["actor"]) for one in entries] == [
        ("quota.remove", "ada", "root"),
        ("quota.set", "ada", "root"),
    ]
    assert (entries[1]["details"]["before"]["max_queued"], entries[1]["details"]["after"]["max_queued"]) == (None, 5)


def test_the_list_of_quotas_costs_the_same_statements_however_many_there_are(admin: httpx2.Client) -> None:
    """Also without a server-wide quota, which a session would look for again."""
    sent: dict[int, int] = {}
    for count in (1, 6):
        for i in range(count):
            admin.post("/v1/users", json={"name": f"user{i}"})
            _limit(admin, f"user{i}", max_queued=i)
        with statements() as noted:
            assert len(admin.get("/v1/quotas").json()["items"]) == count
        sent[count] = sum("FROM quotas" in one for one in noted)
    assert sent == {1: 2, 6: 2}


@pytest.mark.parametrize(
    "body",
    [
        {"max_running": 0},
        {"max_queued": -1},
        {"max_queued": "many"},
        {"stored_bytes": 2**60},
        {"max_jobs": 3},
        {"max_queued": 1.5},
    ],
)
def test_an_invalid_limit_is_refused_by_field(admin: httpx2.Client, body: dict[str, Any]) -> None:
    answer = admin.put("/v1/quotas/ada", json=body)
    assert answer.status_code == 422
    assert {error["pointer"] for error in answer.json()["errors"]} == {f"/{field}" for field in body}


def test_more_queued_jobs_than_the_quota_are_refused_with_the_arithmetic(
    ada: httpx2.Client, bob: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    _limit(admin, max_queued=2)
    submit(ada)
    first = submit(ada)
    body = _refused(ada.post("/v1/calibrations", json=CALIBRATION), "quota_max_queued")
    assert "ada has 2 jobs in the queue; 1 more make 3, and the quota (max_queued) is 2." in body["detail"]
    assert body["facts"] == {"quota": "max_queued", "limit": 2, "used": 2, "adding": 1, "resets_at": None}
    assert _count(sessions) == 2, "nothing of a refused request stays"
    submit(bob)
    ada.post(f"/v1/jobs/{first['id']}/cancel")
    submit(ada)
    assert _refused(ada.post(f"/v1/jobs/{first['id']}/retry"), "quota_max_queued")


def test_a_study_counts_as_all_its_jobs(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    api.add_model("other")
    dataset = {
        "name": "calm",
        "positive": [{"prompt": f"Say {i}"} for i in range(10)],
        "negative": [{"prompt": f"Shout {i}"} for i in range(10)],
        "steering": {"questions": ["How are you?", "What is new?"]},
    }
    assert ada.post("/v1/traits", json=dataset).status_code == 201
    study = {"models": ["demo", "other"], "traits": ["calm"]}
    _limit(admin, max_queued=6)
    dry = ada.post("/v1/studies?dry_run=true", json=study)
    assert dry.status_code == 200, dry.text
    admission = dry.json()["admission"]
    assert (dry.json()["jobs"], admission["would_pass"]) == (7, False)
    assert admission["quotas"] == [{"quota": "max_queued", "limit": 6, "used": 0, "adding": 7, "resets_at": None}]
    body = _refused(ada.post("/v1/studies", json=study), "quota_max_queued")
    assert "0 jobs in the queue; 7 more make 7" in body["detail"]
    assert _count(sessions) == 0
    _limit(admin, max_queued=7)
    assert ada.post("/v1/studies?dry_run=true", json=study).json()["admission"]["would_pass"]
    assert ada.post("/v1/studies", json=study).status_code == 202
    assert _count(sessions) == 7


def test_dry_runs_say_whether_they_would_pass_and_are_never_refused(ada: httpx2.Client, admin: httpx2.Client) -> None:
    _limit(admin, max_queued=1)
    assert ada.post("/v1/calibrations?dry_run=true", json=CALIBRATION).json()["admission"]["would_pass"]
    submit(ada)
    dry = ada.post("/v1/calibrations?dry_run=true", json=CALIBRATION)
    assert (dry.status_code, dry.json()["admission"]["would_pass"]) == (200, False)
    assert "1 more make 2" in dry.json()["admission"]["detail"]
    look = {"model": "demo", "prompts": [{"prompt": "Hello"}]}
    assert not ada.post("/v1/generations?dry_run=true", json=look).json()["admission"]["would_pass"]


def test_a_replay_is_answered_however_full_the_queue_is(ada: httpx2.Client, admin: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "once"}
    made = ada.post("/v1/calibrations", json=CALIBRATION, headers=headers).json()
    _limit(admin, max_queued=0)
    again = ada.post("/v1/calibrations", json=CALIBRATION, headers=headers)
    assert (again.status_code, again.json()["id"], again.headers["Idempotency-Replayed"]) == (202, made["id"], "true")
    refused = {"Idempotency-Key": "another"}
    _refused(ada.post("/v1/calibrations", json=CALIBRATION, headers=refused), "quota_max_queued")
    _limit(admin, max_queued=5)
    assert ada.post("/v1/calibrations", json=CALIBRATION, headers=refused).status_code == 202, "a refusal records nothing"


def test_of_submissions_at_once_as_many_pass_as_the_quota_allows(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Each alone would pass; together only as many as if they had come one after the other."""
    _limit(admin, max_queued=5)
    submit(ada)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _i: ada.post("/v1/calibrations", json=CALIBRATION), range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] * 4 + [429] * 8
    assert _count(sessions) == 5


def test_device_seconds_of_the_day_are_those_booked_and_those_running_and_begin_anew_at_midnight(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    _limit(admin, device_seconds_per_day=100)
    submit(ada)
    lease = claim(sessions)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET started_at = now() - interval '60 s' WHERE state = 'running'"))
    submit(ada)  # 60 of 100, and what has passed since
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET started_at = now() - interval '130 s' WHERE state = 'running'"))
    body = _refused(ada.post("/v1/calibrations", json=CALIBRATION), "quota_device_seconds_per_day")
    assert body["facts"]["used"] >= 130
    succeed(sessions, api.context.storage, lease)  # two seconds, by its own account
    submit(ada)
    with sessions.begin() as session:
        session.execute(text("UPDATE usage_days SET device_seconds = 100"))
    response = ada.post("/v1/calibrations", json=CALIBRATION)
    body = _refused(response, "quota_device_seconds_per_day")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert datetime.fromisoformat(body["facts"]["resets_at"]) == midnight
    assert abs(int(response.headers["Retry-After"]) - (midnight - datetime.now(UTC)).total_seconds()) < 60
    with sessions.begin() as session:
        session.execute(text("UPDATE usage_days SET day = day - 1"))
    submit(ada)


def test_a_user_who_stores_too_much_cannot_submit_or_upload(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    submit(ada)
    succeed(sessions, api.context.storage, claim(sessions), data=b"x" * 1000)
    _limit(admin, stored_bytes=1000)
    body = _refused(ada.post("/v1/calibrations", json=CALIBRATION), "quota_stored_bytes")
    assert "ada stores 1,000 bytes, and the quota (stored_bytes) is 1,000" in body["detail"]
    trait = {
        "name": "calm",
        "positive": [{"prompt": "Say it"}, {"prompt": "Say that"}],
        "negative": [{"prompt": "Shout it"}, {"prompt": "Shout that"}],
        "steering": {"questions": ["How are you?"]},
    }
    assert "ada stores 1,000 bytes" in _refused(ada.post("/v1/traits", json=trait), "quota_stored_bytes")["detail"]
    assert ada.get("/v1/traits?owner=ada").json()["items"] == []
    _limit(admin, stored_bytes=100_000)
    assert ada.post("/v1/traits", json=trait).status_code == 201


def test_a_file_of_vectors_over_the_quota_leaves_no_vector_and_no_bytes(
    ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """What is counted is what would be kept, not what came; a smaller file still fits."""
    _limit(admin, stored_bytes=2_000)
    one, many = (write_vectors("gguf", named(*layers), ORIGIN)[0] for layers in ((1,), range(1, 8)))
    body = _refused(send(ada, many, method="theirs"), "quota_stored_bytes")
    assert "this upload included" in body["detail"]
    assert ada.get("/v1/vectors").json()["items"] == []
    with sessions() as session:
        assert stored_bytes(session, "ada") == 0
    assert send(ada, one, method="theirs").status_code == 201
    with sessions() as session:
        assert 0 < stored_bytes(session, "ada") <= 2_000


def test_a_submission_that_waits_too_long_for_its_check_is_429_and_stores_nothing(
    ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Another submission of the user holds the lock of the quota for longer than a request waits."""
    _limit(admin, stored_bytes=1000)
    with sessions.begin() as session:
        session.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext('ada'))"), {"lock": LOCK})
        answer = ada.post("/v1/calibrations", json=CALIBRATION, headers={"Idempotency-Key": "one"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "submissions_busy", "3")
    assert "Other submissions of ada" in answer.json()["detail"]
    assert _count(sessions) == 0
    assert ada.post("/v1/calibrations", json=CALIBRATION, headers={"Idempotency-Key": "one"}).status_code == 202
