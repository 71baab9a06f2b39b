"""Studies that use other users' jobs: labels and retries belong to their caller, and jobs that are no longer shared show nothing."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail, succeed
from tests.api.test_bad_input import problem

STUDY: dict[str, Any] = {"models": ["demo"], "traits": ["refusal"], "layers": [2], "methods": ["mean_diff"]}
LABELS = {"labels": {"0123456789ab": 100}}  # a text of labelling.csv that fully shows the trait
ALL = {"calibrate/demo", "extract/demo/refusal", "steer/demo/refusal"}


@pytest.fixture
def sam(api: Running) -> Iterator[httpx2.Client]:
    """A user in no group."""
    with api.client("sam") as client:
        yield client


def owners(sessions: sessionmaker[Session]) -> dict[str, int]:
    """How many jobs each user has."""
    with sessions() as session:
        return {row.owner: row.jobs for row in session.execute(text("SELECT owner, count(*) AS jobs FROM jobs GROUP BY owner"))}


def reported(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], **more: Any) -> dict[str, Any]:
    """A study with a calibration that succeeded, an extraction that failed, and a report of the results."""
    made = ada.post("/v1/studies", json={**STUDY, **more})
    assert made.status_code == 202, made.text
    succeed(sessions, api.context.storage, claim(sessions))
    fail(sessions, claim(sessions))
    succeed(sessions, api.context.storage, claim(sessions, "light"), {"study": {}})
    found: dict[str, Any] = ada.get(f"/v1/studies/{made.json()['id']}").json()
    assert (found["state"], found["progress"]) == ("succeeded", {"succeeded": 1, "failed": 2})
    return found


def labelled(api: Running, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]) -> tuple[Any, Any]:
    """Ada's public study, and sam's report of it with his labels, written."""
    study = reported(api, ada, sessions, visibility="public")
    answer = sam.post(f"/v1/studies/{study['id']}/labels", json=LABELS)
    assert answer.status_code == 202, answer.text
    succeed(sessions, api.context.storage, claim(sessions, "light"), {"study": {}})
    return study, sam.get(f"/v1/studies/{answer.json()['id']}").json()


@pytest.mark.parametrize("by", ["study", "job"])
def test_a_labelled_study_of_anothers_jobs_is_retried_in_the_callers_name(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session], by: str
) -> None:
    study, his = labelled(api, ada, sam, sessions)
    before = owners(sessions)
    path = f"/v1/studies/{his['id']}/retry" if by == "study" else f"/v1/jobs/{his['job']}/retry"
    again = sam.post(path)
    assert again.status_code == 202, again.text
    assert owners(sessions) == before | {"sam": before["sam"] + 3}, "an extraction, a steering and a report, all sam's"
    nodes = sam.get(f"/v1/studies/{again.json()['id']}").json()["nodes"]
    assert nodes["calibrate/demo"]["job"] == study["nodes"]["calibrate/demo"]["job"]
    for name in ALL - {"calibrate/demo"}:
        job = sam.get(f"/v1/jobs/{nodes[name]['job']}").json()
        assert (job["owner"], job["visibility"]) == ("sam", "private"), "as sam's study is"


@pytest.mark.parametrize("by", ["study", "job"])
def test_a_retried_report_keeps_its_labels_and_its_warnings(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], by: str
) -> None:
    study = reported(api, ada, sessions, models=["demo", "absent"], skip_unregistered=True)
    warnings = ada.get(f"/v1/jobs/{study['job']}").json()["warnings"]
    assert warnings
    with_labels = ada.post(f"/v1/studies/{study['id']}/labels", json=LABELS).json()
    fail(sessions, claim(sessions, "light"))
    again = ada.post(f"/v1/{'studies' if by == 'study' else 'jobs'}/{with_labels['id']}/retry")
    assert again.status_code == 202, again.text
    assert (again.json()["spec"]["labels"], again.json()["warnings"]) == (LABELS["labels"], warnings)
    assert with_labels["warnings"] == warnings


@pytest.mark.parametrize("meanwhile", ["made private", "made private, owner disabled"])
def test_what_is_not_shared_any_more_is_neither_labelled_nor_retried(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session], meanwhile: str
) -> None:
    study, his = labelled(api, ada, sam, sessions)
    assert ada.patch(f"/v1/jobs/{study['job']}", json={"visibility": "private"}).status_code == 200
    if "disabled" in meanwhile:
        with sessions.begin() as session:
            session.execute(text("UPDATE users SET disabled_at = now() WHERE name = 'ada'"))
    before = owners(sessions)
    for path, body in (("retry", None), ("labels", LABELS)):
        refused = problem(sam.post(f"/v1/studies/{his['id']}/{path}", json=body), 409)
        assert refused["code"] == "not_shared"
        assert all(name in refused["detail"] for name in ALL), "it names the nodes"
    assert problem(sam.post(f"/v1/jobs/{his['job']}/retry"), 409)["code"] == "not_shared"
    assert owners(sessions) == before


def test_a_node_that_is_not_shared_any_more_shows_nothing_but_its_place(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    study, his = labelled(api, ada, sam, sessions)
    assert sam.get(f"/v1/studies/{his['id']}").json()["nodes"]["extract/demo/refusal"]["error"]["code"] == "broken"
    ada.patch(f"/v1/jobs/{study['job']}", json={"visibility": "private"})
    for seen in (sam.get(f"/v1/studies/{his['id']}").json(), sam.get("/v1/studies").json()["items"][0]):
        assert seen["progress"] == {"not_shared": 3}
        for node in seen["nodes"].values():
            assert [node[part] for part in ("shared", "job", "state", "phase", "error")] == [False, None, None, None, None]
            assert node["model"] == "demo"
    assert ada.get(f"/v1/studies/{study['id']}").json()["progress"] == {"succeeded": 1, "failed": 2}


def test_a_job_found_finished_by_reuse_is_used_as_long_as_it_is_shared(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Sam's study uses ada's public calibration; the report he has stays his, and a new job reads it only while it is shared."""
    found = submit(ada, max_new_tokens=16, visibility="public")
    succeed(sessions, api.context.storage, claim(sessions))
    study = sam.post("/v1/studies?reuse=true", json=STUDY | {"calibration_new_tokens": 16}).json()
    fail(sessions, claim(sessions))
    succeed(sessions, api.context.storage, claim(sessions, "light"), {"study": {}})
    ada.patch(f"/v1/jobs/{found['id']}", json={"visibility": "private"})
    seen = sam.get(f"/v1/studies/{study['id']}").json()
    assert seen["state"] == "succeeded"
    assert seen["progress"] == {"not_shared": 1, "failed": 2}
    refused = problem(sam.post(f"/v1/studies/{study['id']}/retry"), 409)
    assert (refused["code"], refused["facts"]["lacking"]) == ("not_shared", ["calibrate/demo"])
    ada.patch(f"/v1/jobs/{found['id']}", json={"visibility": "public"})
    assert sam.post(f"/v1/studies/{study['id']}/retry").json()["owner"] == "sam"


def test_an_administrators_retry_is_the_administrators(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """It uses up no other user's quota and turn, is seen as the old job is, and is in the audit; so for a study and for any job."""
    api.group("interp", "ada")
    study = reported(api, ada, sessions, visibility="group", group="interp")
    single = submit(ada)["id"]
    fail(sessions, claim(sessions))
    before = owners(sessions)
    for path in (f"/v1/studies/{study['id']}/retry", f"/v1/jobs/{single}/retry"):
        again = admin.post(path, headers={"Idempotency-Key": path})
        assert (again.status_code, again.json()["owner"], again.json()["visibility"]) == (202, "root", "private"), again.text
        assert admin.post(path, headers={"Idempotency-Key": path}).json()["id"] == again.json()["id"]
    assert owners(sessions)["ada"] == before["ada"]
    acts = admin.get("/v1/audit", params={"action": "job.retry"}).json()["items"]
    assert {(one["object"], one["details"]["owner"]) for one in acts} == {(study["job"], "ada"), (single, "ada")}


@pytest.mark.parametrize("meanwhile", ["left", "deleted"])
def test_a_retry_after_its_group_is_left_or_gone_is_private(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session], meanwhile: str
) -> None:
    api.group("interp", "ada")
    job = submit(ada, visibility="group", group="interp")["id"]
    fail(sessions, claim(sessions))
    path = "/v1/groups/interp/members/ada" if meanwhile == "left" else "/v1/groups/interp"
    assert admin.delete(path).status_code < 300
    again = ada.post(f"/v1/jobs/{job}/retry")
    assert (again.status_code, again.json()["visibility"], again.json()["group"]) == (202, "private", None), again.text


def test_a_replay_answers_with_its_job_whatever_is_shared_now(
    api: Running, ada: httpx2.Client, sam: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    theirs = submit(ada, visibility="public")["id"]
    fail(sessions, claim(sessions))
    mine = submit(sam, after=[{"job": theirs, "needs": "end"}])["id"]
    fail(sessions, claim(sessions))
    once = {"Idempotency-Key": "once"}
    again = sam.post(f"/v1/jobs/{mine}/retry", headers=once).json()["id"]
    ada.patch(f"/v1/jobs/{theirs}", json={"visibility": "private"})
    assert sam.post(f"/v1/jobs/{mine}/retry", headers=once).json()["id"] == again
    assert problem(sam.post(f"/v1/jobs/{mine}/retry"), 409)["code"] == "not_shared"
