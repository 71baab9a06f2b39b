"""Cancelling and retrying over HTTP."""

import httpx2
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail, succeed


def test_a_queued_job_is_cancelled_at_once_and_cancelling_it_again_is_no_error(ada: httpx2.Client) -> None:
    job = submit(ada)
    first = ada.post(job["links"]["cancel"])
    assert (first.status_code, first.json()["state"]) == (202, "cancelled")
    again = ada.post(job["links"]["cancel"])
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    assert "cancel" not in again.json()["links"]


def test_a_running_job_is_cancelling_until_its_device_has_stopped(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = submit(ada)
    claim(sessions)
    for _ in range(2):
        answer = ada.post(job["links"]["cancel"])
        assert (answer.status_code, answer.json()["state"]) == (202, "cancelling")
    assert answer.json()["cancel_requested_at"] is not None


def test_a_finished_job_cannot_be_cancelled(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = submit(ada)
    succeed(sessions, api.context.storage, claim(sessions))
    refused = ada.post(job["links"]["cancel"])
    assert (refused.status_code, refused.json()["code"]) == (409, "job_finished")


def test_a_retry_is_a_new_job_that_names_the_old_one(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = submit(ada, name="n", tags=["t"], layers=[1])
    fail(sessions, claim(sessions))
    answer = ada.post(f"{job['links']['self']}/retry")
    new = answer.json()
    assert (answer.status_code, answer.headers["Location"]) == (202, new["links"]["self"])
    assert (new["retry_of"], new["spec"], new["name"], new["tags"], new["state"]) == (
        job["id"],
        job["spec"],
        "n",
        ["t"],
        "queued",
    )
    assert ada.get(job["links"]["self"]).json()["state"] == "failed"


def test_a_retry_sent_twice_under_one_key_makes_one_job(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = submit(ada)
    fail(sessions, claim(sessions))
    answers = [ada.post(f"{job['links']['self']}/retry", headers={"Idempotency-Key": "r"}) for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert answers[1].headers["Idempotency-Replayed"] == "true"
    assert len(ada.get("/v1/jobs").json()["items"]) == 2


def test_jobs_that_failed_with_the_one_they_needed_are_retried_after_its_retry(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    first = submit(ada)["id"]
    second = submit(ada, after=[{"job": first}])["id"]
    third = submit(ada, after=[{"job": second}])["id"]
    fail(sessions, claim(sessions))
    job = ada.get(f"/v1/jobs/{third}").json()
    assert (job["state"], job["phase"]) == ("failed", "failed")
    assert job["error"]["detail"] == (
        f"It needed {second} (calibrate), which failed. It needed {first} (calibrate), which failed. It broke. Mend it. "
        f"Retry {second} first, then this job."
    )
    refused = ada.post(f"/v1/jobs/{second}/retry")
    assert (refused.status_code, refused.json()["code"]) == (422, "dependency_failed")
    assert refused.json()["detail"].endswith(f"Retry {first} first, then this job.")
    again = [ada.post(f"/v1/jobs/{one}/retry").json() for one in (first, second, third)]
    assert [one["waiting_for"] for one in again] == [[], [again[0]["id"]], [again[1]["id"]]]
    succeed(sessions, api.context.storage, claim(sessions))
    assert ada.post(f"/v1/jobs/{second}/retry").json()["waiting_for"] == []


def test_only_failed_and_cancelled_jobs_are_retried(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = submit(ada)
    retry = f"{job['links']['self']}/retry"
    assert ada.post(retry).status_code == 409
    succeed(sessions, api.context.storage, claim(sessions))
    refused = ada.post(retry)
    assert (refused.status_code, refused.json()["code"]) == (409, "job_not_retryable")
