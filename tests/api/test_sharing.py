"""Visibility of jobs: private, a group or public, at submission or changed later; results, studies and reuse follow their job."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from app.accounts import groups
from app.auth.viewer import Viewer
from app.extractions.models import Vector
from app.jobs.models import Job
from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail, succeed
from tests.api.lock_waits import until_one_waits
from tests.api.test_bad_input import problem
from tests.api.test_traits import TRAIT
from tests.exports.conftest import store_extraction


@pytest.fixture
def carl(api: Running) -> Iterator[httpx2.Client]:
    """A colleague of ada's, in the group `interp`."""
    api.group("interp", "ada", "carl")
    with api.client("carl") as client:
        yield client


@pytest.fixture
def sam(api: Running) -> Iterator[httpx2.Client]:
    """A user in no group."""
    with api.client("sam") as client:
        yield client


def finished(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], **body: Any) -> dict[str, Any]:
    """The job of a finished calibration."""
    path = submit(ada, **body)["links"]["self"]
    succeed(sessions, api.context.storage, claim(sessions))
    return dict(ada.get(path).json())


def seen(client: httpx2.Client, *paths: str) -> list[int]:
    """The statuses that the client gets at these paths."""
    return [client.get(path).status_code for path in paths]


def test_results_are_seen_by_those_who_see_their_job(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Each change of the job's visibility applies at once to all that it made."""
    job = finished(api, ada, sessions)
    paths = [job["links"]["self"], job["links"]["result"], job["links"]["calibration.json"], job["links"]["events"]]
    for body, by_carl, by_sam in (
        ({}, 404, 404),
        ({"visibility": "group", "group": "interp"}, 200, 404),
        ({"visibility": "public"}, 200, 200),
        ({"group": "interp"}, 200, 404),
        ({"visibility": "private"}, 404, 404),
    ):
        changed = ada.patch(paths[0], json=body)
        assert changed.status_code == 200, changed.text
        assert seen(carl, *paths) == [by_carl] * 4, body
        assert seen(sam, *paths) == [by_sam] * 4, body
        for client, expected in ((carl, by_carl), (sam, by_sam)):
            for listed in ("/v1/jobs", "/v1/calibrations"):
                assert len(client.get(listed).json()["items"]) == (expected == 200), (body, listed)


def test_vectors_and_exports_follow_the_extraction(
    api: Running, carl: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    extraction, job = store_extraction(sessions, api.context.storage)
    with sessions.begin() as session:
        row = session.get_one(Job, job)
        row.visibility, row.group_name = "group", "interp"
        vector = session.scalars(select(Vector.id).where(Vector.extraction_id == extraction)).first()
    paths = (f"/v1/extractions/{extraction}", f"/v1/vectors/{vector}", f"/v1/vectors/{vector}/download")
    assert (seen(carl, *paths), seen(sam, *paths)) == ([200] * 3, [404] * 3)
    listed = [len(client.get("/v1/vectors").json()["items"]) for client in (carl, sam)]
    assert listed[0] > 10
    assert listed[1] == 0
    mine = carl.post(f"/v1/extractions/{extraction}/exports", json={"format": "npy"}).json()
    assert (mine["owner"], mine["visibility"]) == ("carl", "private")
    with api.client("ada") as ada:
        assert problem(ada.patch(f"/v1/vectors/{vector}", json={"visibility": "public"}), 409)["code"] == "follows_its_job"


def test_readers_of_a_job_cannot_change_cancel_or_retry_it(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada, visibility="group", group="interp")["links"]["self"]
    for refused in (
        carl.post(f"{job}/cancel"),
        carl.patch(job, json={"name": "mine"}),
        carl.patch(job, json={"visibility": "public"}),
    ):
        assert problem(refused, 403)["code"] == "not_yours"
    fail(sessions, claim(sessions))
    assert problem(carl.post(f"{job}/retry"), 403)["code"] == "not_yours"
    again = admin.post(f"{job}/retry").json()
    assert (again["owner"], again["visibility"], again["retry_of"]) == ("root", "private", job.rsplit("/", 1)[1])
    assert carl.get(again["links"]["self"]).status_code == 404, "the administrator is in no group"


def test_a_group_is_named_where_it_is_needed_and_is_the_owners(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, sam: httpx2.Client, admin: httpx2.Client
) -> None:
    for client, body in (
        (sam, {"visibility": "group", "group": "interp"}),
        (sam, {"visibility": "group", "group": "none"}),
        (ada, {"visibility": "group"}),
        (ada, {"group": "interp"}),
        (ada, {"visibility": "public", "group": "interp"}),
    ):
        refused = problem(client.post("/v1/calibrations", json={"model": "demo", **body}), 422)
        assert refused["errors"][0]["pointer"] == "/group", body
    job = submit(sam)["links"]["self"]
    assert problem(admin.patch(job, json={"group": "interp"}), 422)["code"] == "not_in_group", "it is sam's, who is in none"
    assert problem(ada.post("/v1/vectors", json={"model": "demo", "file": "AA==", "visibility": "group"}), 422)


def test_a_deleted_groups_name_shows_nothing_to_a_later_group(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, admin: httpx2.Client, sam: httpx2.Client
) -> None:
    job = submit(ada, visibility="group", group="interp")["links"]["self"]
    assert carl.get(job).status_code == 200
    admin.delete("/v1/groups/interp")
    admin.post("/v1/groups", json={"name": "interp"})
    admin.put("/v1/groups/interp/members/sam")
    with api.client("sam") as later, api.client("carl") as earlier:
        assert (later.get("/v1/me").json()["groups"], later.get(job).status_code) == (["interp"], 404)
        assert earlier.get(job).status_code == 404
    assert (ada.get(job).json()["visibility"], ada.get(job).json()["group"]) == ("group", None)


def test_reuse_finds_only_jobs_that_the_caller_may_see(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    job = finished(api, ada, sessions, visibility="group", group="interp")
    reused = carl.post("/v1/calibrations?reuse=true", json={"model": "demo"})
    assert (reused.status_code, reused.headers["Binnacle-Reused"]) == (200, job["id"])
    assert sam.post("/v1/calibrations?reuse=true", json={"model": "demo"}).status_code == 202
    after = {"model": "demo", "after": [{"job": job["id"], "needs": "end"}]}
    assert (carl.post("/v1/calibrations", json=after).status_code, sam.post("/v1/calibrations", json=after).status_code) == (
        202,
        422,
    )


def test_an_extractions_own_calibration_is_seen_by_those_who_see_the_extraction(
    api: Running, carl: httpx2.Client, ada: httpx2.Client
) -> None:
    body = {"model": "demo", "trait": "refusal", "methods": ["mean_diff_cleaned"], "visibility": "group", "group": "interp"}
    extraction = ada.post("/v1/extractions", json=body).json()
    calibration = extraction["spec"]["calibration"]["job"]
    assert seen(carl, f"/v1/jobs/{extraction['id']}", f"/v1/jobs/{calibration}") == [200, 200]


def test_the_jobs_of_a_study_follow_it(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Jobs that the study made are shown and hidden with it; a job that it reused is shown with it, and not hidden with it."""
    found = finished(api, ada, sessions, max_new_tokens=16)["links"]["self"]
    body = {"models": ["demo"], "traits": ["refusal"], "calibration_new_tokens": 16, "visibility": "group", "group": "interp"}
    study = ada.post("/v1/studies?reuse=true", json=body).json()
    nodes = ada.get(f"/v1/studies/{study['id']}").json()["nodes"]
    assert [node["reused"] for node in nodes.values()].count(True) == 1
    own = [f"/v1/jobs/{node['job']}" for node in nodes.values() if not node["reused"]]
    study_path = study["links"]["self"]
    assert (seen(carl, study_path, *own), carl.get(found).status_code) == ([200] * (len(own) + 1), 404)
    ada.patch(study_path, json={"visibility": "public"})
    assert seen(sam, study_path, *own, found) == [200] * (len(own) + 2)
    ada.patch(study_path, json={"visibility": "private"})
    assert seen(sam, study_path, *own) == [404] * (len(own) + 1)
    assert sam.get(found).status_code == 200


def test_a_shared_trait_does_not_change_what_its_name_means_to_others(
    api: Running, carl: httpx2.Client, ada: httpx2.Client, sam: httpx2.Client, admin: httpx2.Client
) -> None:
    """A colleague's `refusal` is found by its id and version; the name goes on meaning the one that everybody knows."""
    group = {"visibility": "group", "group": "interp"}
    theirs = ada.post("/v1/traits", json={**TRAIT, "name": "refusal", **group}).json()
    assert (theirs["visibility"], theirs["group"]) == ("group", "interp")
    assert carl.get("/v1/traits/refusal").json()["owner"] == "binnacle"
    assert seen(carl, f"/v1/traits/{theirs['id']}", f"/v1/traits/{theirs['reference']}") == [200, 200]
    assert seen(sam, f"/v1/traits/{theirs['id']}", f"/v1/traits/{theirs['reference']}") == [404, 404]
    assert problem(ada.patch(f"/v1/traits/{theirs['id']}", json={"visibility": "public"}), 403)["code"] == "forbidden"
    assert problem(carl.patch(f"/v1/traits/{theirs['id']}", json={"visibility": "private"}), 403)["code"] == "not_yours"
    assert "/visibility: This field is required" in problem(admin.patch(f"/v1/traits/{theirs['id']}", json={}), 422)["detail"]
    assert admin.patch(f"/v1/traits/{theirs['id']}", json={"visibility": "public"}).json()["visibility"] == "public"
    assert sam.get(f"/v1/traits/{theirs['id']}").status_code == 200
    again = ada.post("/v1/traits", json={**TRAIT, "name": "refusal"})
    assert (again.status_code, again.json()["visibility"]) == (200, "public"), "sent again without a word of it, it stays"


@pytest.mark.parametrize(("what", "code"), [("member", "not_found"), ("share", "not_in_group")])
def test_a_group_that_is_deleted_at_the_same_moment_is_refused_as_missing(
    what: str,
    code: str,
    api: Running,
    carl: httpx2.Client,
    ada: httpx2.Client,
    admin: httpx2.Client,
    sessions: sessionmaker[Session],
) -> None:
    """The check still sees the group and the foreign key does not, which must not be a 500."""
    path = submit(ada)["links"]["self"]
    with ThreadPoolExecutor(1) as pool, sessions.begin() as session:
        groups.delete(session, "interp", Viewer("root", "admin"))
        if what == "member":
            asked = pool.submit(admin.put, "/v1/groups/interp/members/ada")
        else:
            asked = pool.submit(ada.patch, path, json={"visibility": "group", "group": "interp"})
        until_one_waits(sessions)  # for the deletion
        session.commit()
        answer = asked.result()
    assert answer.json()["code"] == code, answer.text
