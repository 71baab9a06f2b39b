"""Answers tell a caller nothing of other users' private work: no counts, no ids of jobs that are not shared, no reasons of their failures."""

from collections.abc import Iterator

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail

PUBLIC = {"visibility": "public"}


@pytest.fixture
def sam(api: Running) -> Iterator[httpx2.Client]:
    """A user in no group."""
    with api.client("sam") as client:
        yield client


def reasons(client: httpx2.Client, job: str) -> list[str]:
    """Why the job waits, from each of the three addresses that say so."""
    told = [
        client.get(f"/v1/jobs/{job}").json(),
        *[one for one in client.get("/v1/jobs").json()["items"] if one["id"] == job],
        *[one for one in client.get("/v1/status").json()["waiting"] if one["job"] == job],
    ]
    assert len(told) == 3
    return [one["waits_because"]["detail"] for one in told]


def test_the_reason_why_another_users_job_waits_holds_no_count_of_its_owners_jobs(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    for _ in range(3):
        submit(ada)
    public = submit(ada, **PUBLIC)["id"]
    claim(sessions)  # a worker is there; two private jobs are before the public one
    assert all("2 of the same user" in one for one in [*reasons(ada, public), *reasons(admin, public)])
    assert all("of the same user" not in one and one.startswith("2 jobs before it") for one in reasons(sam, public))
    assert admin.put("/v1/quotas/ada", json={"max_running": 1}).status_code == 200
    assert all("the quota (max_running) allows 1" in one for one in [*reasons(ada, public), *reasons(admin, public)])
    assert all(not any(letter.isdigit() for letter in one) for one in reasons(sam, public))
    assert sam.get(f"/v1/jobs/{public}").json()["waits_because"]["code"] == "quota_running"


def test_only_jobs_that_are_shared_are_named_as_waited_for(
    ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Otherwise others would learn when a private job ends."""
    hidden, shown = submit(ada)["id"], submit(ada, **PUBLIC)["id"]
    waiting = submit(ada, after=[{"job": hidden}, {"job": shown}], **PUBLIC)["id"]
    assert set(ada.get(f"/v1/jobs/{waiting}").json()["waiting_for"]) == {hidden, shown}
    seen = sam.get(f"/v1/jobs/{waiting}").json()
    assert (seen["waiting_for"], seen["phase"]) == ([shown], "waiting")
    assert hidden not in str(seen["waits_because"])


@pytest.mark.parametrize(("meanwhile", "told"), [("nothing", True), ("made private", False)])
def test_the_reason_of_a_failed_job_is_passed_on_only_to_those_it_is_shared_with(
    ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session], meanwhile: str, told: bool
) -> None:
    theirs = submit(ada, **PUBLIC)["id"]
    mine = submit(sam, after=[{"job": theirs}])["id"]
    if meanwhile != "nothing":
        ada.patch(f"/v1/jobs/{theirs}", json={"visibility": "private"})
    lease = claim(sessions)
    assert lease.job.id == theirs
    fail(sessions, lease)
    error = sam.get(f"/v1/jobs/{mine}").json()["error"]
    assert error["code"] == "dependency_failed"
    assert ("It broke." in error["detail"]) is told


def test_shared_bytes_do_not_tell_whether_another_has_the_same_file(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, admin: httpx2.Client
) -> None:
    rows = {"positive": ["Thank them.", "Praise it."], "negative": ["Snub them.", "Scorn it."]}
    trait = {"name": "secret", **rows, "steering": {"questions": ["How do I ask?", "What do I write?"]}}
    alone = sam.post("/v1/traits", json=trait)
    assert alone.status_code == 201, alone.text
    before = sam.get("/v1/usage").json()
    assert ada.post("/v1/traits", json=trait).status_code == 201
    assert sam.get("/v1/usage").json() == before
    assert before["items"][0]["shared_bytes"] is None
    [of_sam] = admin.get("/v1/usage", params={"user": "sam"}).json()["items"]
    assert of_sam["shared_bytes"] == of_sam["stored_bytes"] > 0


def test_a_quota_names_its_own_users_counts_alone(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """An administrator's retry of a user's job asks the administrator's quota."""
    job = submit(ada)["id"]
    fail(sessions, claim(sessions))
    with sessions.begin() as session:
        session.execute(text("INSERT INTO quotas (owner, max_queued, changed_by) VALUES ('ada', 0, 'x'), ('root', 0, 'x')"))
    refused = admin.post(f"/v1/jobs/{job}/retry")
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_max_queued")
    assert refused.json()["detail"].startswith("root has 0 jobs in the queue")
