"""Users delete their finished jobs with all that these made, and the bytes stop counting at once; what is still in use stays."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.models import Job, JobCell
from app.retention import repository as retention
from app.storage.blobs import collect, reference_lock, stage
from tests.api.conftest import Running, submit
from tests.api.finishing import finish_everything
from tests.api.lives import FILE, claim, fail, succeed
from tests.contract.contents import STUDY as CONTENTS

Sessions = sessionmaker[Session]
STUDY = CONTENTS | {"models": ["demo"], "name": "a first look"}


@pytest.fixture
def done(api: Running, ada: httpx2.Client, sessions: Sessions) -> Callable[..., dict[str, Any]]:
    """Makes finished calibrations."""

    def make(client: httpx2.Client = ada, **body: Any) -> dict[str, Any]:
        job = submit(client, **body)
        succeed(sessions, api.context.storage, claim(sessions), data=FILE + job["id"].encode())
        return dict(client.get(f"/v1/jobs/{job['id']}").json())

    return make


@pytest.fixture
def study(api: Running, ada: httpx2.Client, sessions: Sessions) -> dict[str, Any]:
    """A finished study of the model `demo`."""
    made = ada.post("/v1/studies", json=STUDY)
    assert made.status_code == 202, made.text
    finish_everything(sessions, api.context.storage)
    found: dict[str, Any] = ada.get(f"/v1/studies/{made.json()['id']}").json()
    assert found["state"] == "succeeded"
    return found


def stored(client: httpx2.Client) -> int:
    """The bytes that the client's user stores."""
    [mine] = client.get("/v1/usage").json()["items"]
    return int(mine["stored_bytes"])


def refused(response: httpx2.Response, code: str) -> dict[str, Any]:
    """Checks that the answer is 409 with this code; returns its body."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (409, code), response.text
    return body


def test_a_job_goes_with_all_that_it_made_and_its_bytes_count_no_longer(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, done: Any, sessions: Sessions
) -> None:
    key = {"Idempotency-Key": "once"}
    job_id = ada.post("/v1/calibrations", json={"model": "demo", "name": "mine"}, headers=key).json()["id"]
    succeed(sessions, api.context.storage, claim(sessions))
    calibration = ada.get(f"/v1/jobs/{job_id}").json()["result"]["calibration"]["id"]
    other = done()
    before = stored(ada)
    would = ada.delete(f"/v1/jobs/{job_id}", params={"dry_run": "true"}).json()
    assert (would["dry_run"], stored(ada)) == (True, before)
    answer = ada.delete(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    gone = answer.json()
    assert gone == would | {"dry_run": False}
    assert gone == {
        "dry_run": False, "deleted": [{"id": job_id, "kind": "calibrate", "name": "mine"}], "stays": [], "files": 1, "vectors": 0,
        "bytes": len(FILE),
    }  # fmt: skip
    assert stored(ada) == before - len(FILE)
    for path in (
        f"/v1/jobs/{job_id}",
        f"/v1/jobs/{job_id}/events",
        f"/v1/calibrations/{calibration}",
        f"/v1/calibrations/{job_id}",
    ):
        assert ada.get(path).status_code == 404, path
    assert ada.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert [one["id"] for one in ada.get("/v1/jobs").json()["items"]] == [other["id"]]
    assert ada.get("/v1/usage").json()["items"][0]["device_seconds"] == 4.0  # the device time that the job used stays booked
    again = ada.post("/v1/calibrations", json={"model": "demo"}, headers=key)
    assert (again.status_code, again.json()["id"] != job_id) == (202, True)  # its key went with it
    [entry] = admin.get("/v1/audit", params={"action": "job.delete"}).json()["items"]
    assert (entry["actor"], entry["object"]) == ("ada", job_id)
    expected = {"owner": "ada", "kind": "calibrate", "name": "mine", "jobs": [job_id], "bytes": len(FILE)}
    assert entry["details"] == expected


def test_the_disk_has_the_bytes_back_after_the_last_reference(api: Running, ada: httpx2.Client, sessions: Sessions) -> None:
    jobs = [submit(ada)["id"] for _ in range(2)]
    for _ in jobs:
        succeed(sessions, api.context.storage, claim(sessions), data=b"the same bytes")
    with sessions.begin() as session:
        session.execute(text("UPDATE blobs SET touched_at = now() - interval '2 days'"))
    freed = []
    for job_id in jobs:
        freed.append(ada.delete(f"/v1/jobs/{job_id}").json()["bytes"])
        freed.append(collect(sessions, api.context.storage).bytes)
    assert freed == [0, 0, 14, 14]


def test_a_result_is_deleted_with_its_job_under_either_id(ada: httpx2.Client, done: Any, study: dict[str, Any]) -> None:
    job = done()
    assert ada.delete(f"/v1/jobs/{job['result']['calibration']['id']}").json()["deleted"][0]["id"] == job["id"]
    assert ada.delete(f"/v1/jobs/{study['id']}").json()["deleted"][-1]["id"] == study["job"]
    assert ada.delete("/v1/jobs/cal_00000000000000000000000000").status_code == 404
    assert ada.delete("/v1/jobs/vec_00000000000000000000000000").status_code == 422


def test_an_unfinished_job_must_be_cancelled_first(ada: httpx2.Client, sessions: Sessions) -> None:
    job = submit(ada)
    for state in ("queued", "running"):
        body = refused(ada.delete(f"/v1/jobs/{job['id']}"), "job_not_finished")
        assert f"{job['id']} is {state}: cancel it first (POST /v1/jobs/{job['id']}/cancel)" in body["detail"]
        if state == "queued":
            lease = claim(sessions)
    fail(sessions, lease)
    assert ada.delete(f"/v1/jobs/{job['id']}").status_code == 200


def test_only_administrators_delete_other_users_jobs_and_that_is_recorded(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, done: Any
) -> None:
    private, public = done(), done(visibility="public")
    with api.client("bob") as bob:
        assert bob.delete(f"/v1/jobs/{private['id']}").status_code == 404
        assert bob.delete(f"/v1/jobs/{private['result']['calibration']['id']}").status_code == 404
        assert bob.delete(f"/v1/jobs/{public['id']}").status_code == 403
    assert admin.delete(f"/v1/jobs/{private['id']}").status_code == 200
    [entry] = admin.get("/v1/audit", params={"action": "job.delete"}).json()["items"]
    assert (entry["actor"], entry["details"]["owner"]) == ("root", "ada")


def test_a_kept_job_and_the_jobs_it_was_made_of_stay_until_keep_is_unset(ada: httpx2.Client, done: Any) -> None:
    first = done()["id"]
    second = done(after=[{"job": first}])["id"]
    third = done(after=[{"job": second}])["id"]
    ada.patch(f"/v1/jobs/{third}", json={"keep": True})
    refused(ada.delete(f"/v1/jobs/{third}"), "job_kept")
    body = refused(ada.delete(f"/v1/jobs/{first}"), "in_use")
    assert body["facts"] == {"used_by": [third], "hidden": 0}
    assert f"Kept jobs depend on it: {third}. Stop keeping them first" in body["detail"]
    ada.patch(f"/v1/jobs/{third}", json={"keep": False})
    assert ada.delete(f"/v1/jobs/{first}").status_code == 200
    assert ada.get(f"/v1/jobs/{second}").json()["state"] == "succeeded"


def test_a_kept_job_that_is_unfinished_is_named_once(ada: httpx2.Client, done: Any) -> None:
    used = done()
    after = submit(ada, **_after(used))["id"]
    ada.patch(f"/v1/jobs/{after}", json={"keep": True})
    body = refused(ada.delete(f"/v1/jobs/{used['id']}"), "in_use")
    assert body["facts"] == {"used_by": [after], "hidden": 0}
    assert "Cancel them" in body["detail"]
    assert "Stop keeping them first" in body["detail"]


def test_keeping_a_job_does_not_hold_other_users_jobs_that_it_used(api: Running, ada: httpx2.Client, done: Any) -> None:
    """One user does not fill the quota of another."""
    shared = done(visibility="public")["id"]
    with api.client("bob") as bob:
        theirs = done(bob, after=[{"job": shared}])["id"]
        bob.patch(f"/v1/jobs/{theirs}", json={"keep": True})
        assert ada.delete(f"/v1/jobs/{shared}").status_code == 200
        assert bob.get(f"/v1/jobs/{theirs}").json()["state"] == "succeeded"


def _after(used: dict[str, Any]) -> dict[str, Any]:
    """Fields of a request that waits for the end of this job."""
    return {"after": [{"job": used["id"], "needs": "end"}]}


def test_a_job_that_unfinished_jobs_use_stays_and_they_are_named(api: Running, ada: httpx2.Client, done: Any) -> None:
    used = done(visibility="public")
    mine = submit(ada, name="next", **_after(used))["id"]
    with api.client("bob") as bob:
        theirs = submit(bob, **_after(used))["id"]
        body = refused(ada.delete(f"/v1/jobs/{used['id']}"), "in_use")
        assert body["facts"] == {"used_by": [mine], "hidden": 1}
        assert f"{mine} (calibrate, 'next', queued), 1 job that you cannot see. Cancel them, or wait" in body["detail"]
        assert theirs not in str(body)
        bob.post(f"/v1/jobs/{theirs}/cancel")
    ada.post(f"/v1/jobs/{mine}/cancel")
    assert ada.delete(f"/v1/jobs/{used['id']}").status_code == 200
    assert ada.get(f"/v1/jobs/{mine}").json()["state"] == "cancelled"


@pytest.mark.parametrize("node", ["calibrate/demo", "extract/demo/refusal"])
def test_a_job_that_a_spec_names_is_in_use_without_an_edge(ada: httpx2.Client, study: dict[str, Any], node: str) -> None:
    """The calibration and the extraction were finished when the steering was submitted, so it waits for neither."""
    calibration, extraction = (study["nodes"][name]["job"] for name in ("calibrate/demo", "extract/demo/refusal"))
    ask = {"model": "demo", "trait": "refusal", "calibration": calibration, "extraction": extraction}
    steering = ada.post("/v1/steerings", json=ask).json()
    assert steering["waiting_for"] == []
    body = refused(ada.delete(f"/v1/jobs/{study['nodes'][node]['job']}"), "in_use")
    assert steering["id"] in body["facts"]["used_by"]


def test_a_vector_that_a_spec_names_keeps_the_extraction_that_made_it(ada: httpx2.Client, study: dict[str, Any]) -> None:
    vector = ada.get("/v1/vectors").json()["items"][0]["id"]
    extraction = study["nodes"]["extract/demo/refusal"]["job"]
    with_it = {"model": "demo", "prompts": [{"prompt": "Hello."}], "vectors": [vector]}
    look = ada.post("/v1/generations", json=with_it)
    assert look.status_code == 202, look.text
    assert extraction not in str(look.json()["spec"])
    told = ada.delete(f"/v1/jobs/{study['id']}").json()
    [stays] = [one for one in told["stays"] if one["id"] == extraction]
    assert look.json()["id"] in stays["why"]
    assert ada.get(f"/v1/vectors/{vector}/download").status_code == 200


def test_the_parts_of_a_job_that_is_being_retried_stay(ada: httpx2.Client, api: Running, sessions: Sessions) -> None:
    """A retry of a retry reads the parts of the first: deleting and retention both leave them."""
    first = submit(ada)["id"]
    lease = claim(sessions)
    blob = stage(sessions, api.context.storage, b"a finished part")
    with sessions.begin() as session:
        reference_lock(session, blob)
        session.add(JobCell(job_id=first, cell="c", digest=blob.digest))
    fail(sessions, lease)
    second = ada.post(f"/v1/jobs/{first}/retry").json()["id"]
    fail(sessions, claim(sessions))
    third = ada.post(f"/v1/jobs/{second}/retry").json()["id"]
    with sessions.begin() as session:
        session.execute(update(Job).where(Job.id == first).values(finished_at=text("now() - interval '99 days'")))
        assert retention.old_results(session, 30) == ([], None)
    assert refused(ada.delete(f"/v1/jobs/{first}"), "in_use")["facts"]["used_by"] == [third]
    fail(sessions, claim(sessions))
    assert ada.delete(f"/v1/jobs/{first}").json()["bytes"] == 15
    assert ada.get(f"/v1/jobs/{second}").json()["retry_of"] is None


def test_a_study_takes_its_own_jobs_along(ada: httpx2.Client, study: dict[str, Any]) -> None:
    nodes = {one["job"] for one in study["nodes"].values()}
    used = stored(ada)
    told = ada.delete(f"/v1/jobs/{study['job']}").json()
    assert {one["id"] for one in told["deleted"]} == nodes | {study["job"]}
    assert (told["stays"], told["bytes"], told["vectors"] > 0) == ([], used, True)
    for path in ("/v1/jobs", "/v1/studies", "/v1/calibrations", "/v1/extractions", "/v1/vectors", "/v1/steerings"):
        assert ada.get(path).json()["items"] == [], path
    assert stored(ada) == 0


def test_a_studys_jobs_stay_where_something_else_uses_them(
    ada: httpx2.Client, api: Running, study: dict[str, Any], sessions: Sessions
) -> None:
    """Another study that found them finished, a kept one, and what that one was made of; the study says which and why."""
    calibration, extraction, steering = (
        study["nodes"][name]["job"] for name in ("calibrate/demo", "extract/demo/refusal", "steer/demo/refusal")
    )
    body = refused(ada.delete(f"/v1/jobs/{steering}"), "in_use")
    assert body["facts"]["used_by"] == [study["id"]]
    assert f"It is part of a study: {study['id']}. Delete the study first." in body["detail"]
    second = ada.post("/v1/studies?reuse=true", json=STUDY | {"name": "another", "budget": 7}).json()["id"]
    finish_everything(sessions, api.context.storage)
    other = ada.get(f"/v1/studies/{second}").json()
    assert [name for name, node in other["nodes"].items() if node["reused"]] == ["calibrate/demo", "extract/demo/refusal"]
    told = ada.delete(f"/v1/jobs/{study['id']}").json()
    assert {one["id"] for one in told["deleted"]} == {steering, study["job"]}
    assert {one["id"]: one["why"] for one in told["stays"]} == dict.fromkeys(
        (calibration, extraction), f"It is part of a study: {other['id']}. Delete the study first."
    )
    own = other["nodes"]["steer/demo/refusal"]["job"]
    ada.patch(f"/v1/jobs/{own}", json={"keep": True})
    told = ada.delete(f"/v1/jobs/{other['id']}").json()
    assert [one["id"] for one in told["deleted"]] == [other["job"]]
    assert told["stays"] == [{"id": own, "kind": "steer", "name": "another: steer/demo/refusal", "why": "It is kept."}]
    assert {one["id"] for one in ada.get("/v1/jobs").json()["items"]} == {calibration, extraction, own}


def test_a_study_outlives_the_jobs_that_it_used(
    ada: httpx2.Client, api: Running, study: dict[str, Any], sessions: Sessions
) -> None:
    """Bob's finished study does not hold Ada's jobs: its report is whole; doing it again is refused by name."""
    ada.patch(f"/v1/jobs/{study['job']}", json={"visibility": "public"})
    with api.client("bob") as bob:
        made = bob.post("/v1/studies?reuse=true", json=STUDY | {"budget": 7}).json()["id"]
        finish_everything(sessions, api.context.storage)
        assert ada.delete(f"/v1/jobs/{study['id']}").json()["stays"] == []
        theirs = bob.get(f"/v1/studies/{made}").json()
        assert bob.get(theirs["links"]["report.html"]).status_code == 200
        for route, body in (("retry", {}), ("labels", {"labels": {"0123456789ab": 100}})):
            assert "calibrate/demo" in refused(bob.post(f"/v1/studies/{made}/{route}", json=body), "not_shared")["detail"]
        assert bob.patch(f"/v1/jobs/{made}", json={"visibility": "public"}).status_code == 200
        steering = theirs["nodes"]["steer/demo/refusal"]["job"]
        gone = bob.post(f"/v1/steerings/{steering}/rescore", json={"judge": "reference"})
        assert gone.status_code in (409, 422)
        assert study["nodes"]["extract/demo/refusal"]["job"] in gone.json()["detail"]
        assert bob.delete(f"/v1/jobs/{made}").json()["stays"] == []


def test_deleting_makes_room_under_the_quota_and_the_refusal_says_how(
    ada: httpx2.Client, admin: httpx2.Client, done: Any
) -> None:
    job = done()
    admin.put("/v1/quotas/ada", json={"stored_bytes": 10})
    full = ada.post("/v1/calibrations", json={"model": "demo"})
    assert (full.status_code, "DELETE /v1/jobs/ID" in full.json()["detail"]) == (429, True)
    assert ada.delete(f"/v1/jobs/{job['id']}").status_code == 200
    submit(ada)


def test_a_prompt_that_is_an_id_holds_nothing_and_is_kept_as_it_is(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Anyone could keep a colleague's job from being deleted by a prompt of its id, and a retry of theirs was refused for it."""
    private = submit(ada)["id"]
    succeed(sessions, api.context.storage, claim(sessions))
    with api.client("bob") as bob:
        asked = submit(bob, prompts=[private, {"prompt": "a ?", "system_prompt": private}])
        generation = bob.post("/v1/generations", json={"model": "demo", "prompts": [private]}).json()
        for job in (asked, generation):
            assert ada.delete(f"/v1/jobs/{private}?dry_run=true").status_code == 200
            bob.post(f"/v1/jobs/{job['id']}/cancel")
            again = bob.post(f"/v1/jobs/{job['id']}/retry")
            assert again.status_code == 202, again.text
            assert again.json()["spec"]["prompts"] == job["spec"]["prompts"]
        needed = submit(bob)
        after = submit(bob, prompts=[needed["id"]], after=[{"job": needed["id"]}])
        for job in (needed, after):
            bob.post(f"/v1/jobs/{job['id']}/cancel")
        bob.post(f"/v1/jobs/{needed['id']}/retry")
        renewed = bob.post(f"/v1/jobs/{after['id']}/retry").json()
        assert renewed["spec"]["prompts"] == [needed["id"]] != renewed["waiting_for"]
