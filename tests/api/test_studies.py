"""Studies over HTTP without workers: planned whole or refused, cancelled with all their jobs, retried where they failed."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.viewer import Viewer
from app.deletion.service import delete_job
from app.studies.models import Study
from binnacle.shipped import shipped_study
from tests.api.conftest import Running
from tests.api.finishing import finish_everything
from tests.api.lives import claim, fail, succeed
from tests.api.test_warnings import small
from tests.counting import statements

pytestmark = pytest.mark.usefixtures("specs_as_written")

STUDY: dict[str, Any] = {
    "models": ["demo"],
    "traits": ["refusal", "sycophancy"],
    "layers": [2],
    "methods": ["mean_diff", "probe"],
}
NODES = [
    "calibrate/demo", "extract/demo/refusal", "extract/demo/sycophancy", "steer/demo/refusal", "steer/demo/sycophancy",
]  # fmt: skip


@pytest.fixture
def study(ada: httpx2.Client) -> dict[str, Any]:
    """A submitted study; none of its jobs runs."""
    made = ada.post("/v1/studies", json=STUDY)
    assert made.status_code == 202, made.text
    found: dict[str, Any] = ada.get(f"/v1/studies/{made.json()['id']}").json()
    return found


def test_a_plan_names_every_job_with_its_cost_and_makes_nothing(ada: httpx2.Client) -> None:
    plan = ada.post("/v1/studies", params={"dry_run": "true"}, json=STUDY)
    assert plan.status_code == 200, plan.text
    body = plan.json()
    assert [one["node"] for one in body["nodes"]] == NODES
    assert body["jobs"] == len(NODES) + 1
    assert body["arithmetic"] == "1 calibration + 2 extractions + 2 steerings + 1 report; 6 of these jobs will run"
    assert "answers" in str(body["nodes"][-1])
    assert ada.get("/v1/jobs").json()["items"] == []
    assert ada.get("/v1/studies").json()["items"] == []


def test_a_plan_counts_no_job_that_is_reused(
    api: Running, ada: httpx2.Client, study: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    """Neither before the report is written nor after."""
    for classes, runs in ((["model"], 1), (["model", "light"], 0)):
        finish_everything(sessions, api.context.storage, classes)
        plan = ada.post("/v1/studies", params={"dry_run": "true", "reuse": "true"}, json=STUDY).json()
        assert (plan["jobs"], plan["reused"]) == (runs, len(NODES) + 1 - runs)
        assert f"{runs} of these jobs will run" in plan["arithmetic"]
    again = ada.post("/v1/studies", params={"reuse": "true"}, json=STUDY)
    assert again.json()["id"] == study["job"]


def test_a_study_without_traits_only_calibrates_and_may_skip_unregistered_models(
    ada: httpx2.Client,
) -> None:
    asked = {"models": ["gemma-9", "demo"], "traits": [], "skip_unregistered": True}
    plan = ada.post("/v1/studies", params={"dry_run": "true"}, json=asked).json()
    assert [one["node"] for one in plan["nodes"]] == ["calibrate/demo"]
    assert "models not registered and left out: 1" in plan["arithmetic"]
    made = ada.post("/v1/studies", json=asked)
    assert made.status_code == 202, made.text
    assert list(ada.get(f"/v1/studies/{made.json()['id']}").json()["nodes"]) == ["calibrate/demo"]
    for refused in (asked | {"skip_unregistered": False}, asked | {"models": ["gemma-9"]}):
        answer = ada.post("/v1/studies", json=refused)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["code"] == "unknown_model"


def test_the_shipped_study_of_severity_names_more_models_than_a_server_has(ada: httpx2.Client) -> None:
    asked = shipped_study("severity").request
    answer = ada.post("/v1/studies", params={"dry_run": "true"}, json=asked)  # `demo` is not among them
    assert answer.json()["errors"][0]["detail"].startswith("None of the study's models is registered here")
    plan = ada.post("/v1/studies", params={"dry_run": "true"}, json=asked | {"models": [*asked["models"], "demo"]})
    assert plan.status_code == 200, plan.text
    assert plan.json()["jobs"] == 2


def test_a_study_is_submitted_as_a_graph_of_jobs_that_wait_for_each_other(ada: httpx2.Client, study: dict[str, Any]) -> None:
    assert list(study["nodes"]) == NODES
    jobs = {name: ada.get(f"/v1/jobs/{node['job']}").json() for name, node in study["nodes"].items()}
    assert jobs["calibrate/demo"]["waiting_for"] == []
    assert jobs["extract/demo/refusal"]["waiting_for"] == [jobs["calibrate/demo"]["id"]]
    assert set(jobs["steer/demo/refusal"]["waiting_for"]) >= {jobs["extract/demo/refusal"]["id"]}
    report = ada.get(f"/v1/jobs/{study['job']}").json()
    assert set(report["waiting_for"]) == {job["id"] for job in jobs.values()}
    assert report["progress"] == {"done": 0, "total": 5, "unit": "jobs"}


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"models": ["nobody"]}, "/models/0", "nobody"),
        ({"models": ["demo", "demo"]}, "/models", "repeats an entry"),
        ({"traits": ["kindness"]}, "/traits", "kindness"),
        ({"methods": ["pobe"]}, "/methods", "pobe"),
        ({"layers": [8]}, "/layers", "layers, 0 to 7"),
        ({"judge": "nobody"}, "/judge", "nobody"),
        ({"max_new_tokens": 100_000}, "/max_new_tokens", "100,000"),
        ({"calibration_new_tokens": 100_000}, "/calibration_new_tokens", "/calibration_new_tokens is 100,000"),
        ({"positions": ["response[:2000]"]}, "/positions", "would be made for this request is refused: 2,000 new tokens"),
        ({"positions": ["answer[:5]"]}, "/positions", "frame[slice]"),
        ({"capability": [{"question": "what is one plus one ?"}]}, "/capability/0/answer", "required"),
        ({"ablation": list(range(1, 21))}, "/ablation", "x 20 numbers of dims x 4 ways to choose the dims = 162"),
        (
            {"methods": [f"mean_diff_top{i}" for i in range(1, 101)], "evidence": "full"},
            "/methods",
            "= 120; without repeats 115; a steering takes 100",
        ),
        ({"traits": ["refusal", "sycophancy", "refusal@VERSION"], "evidence": "full"}, "/traits", "name each trait once"),
        ({"traits": ["refusal", "refusal@VERSION"]}, "/traits/1", "entry 0 of /traits is: name each trait once"),
        ({"budgets": 3}, "/budgets", "does not take this field"),
    ],
)
def test_a_study_is_refused_whole_if_one_of_its_jobs_would_be(
    ada: httpx2.Client, change: dict[str, Any], pointer: str, said: str
) -> None:
    version = ada.get("/v1/traits/refusal").json()["version"]
    asked = json.loads(json.dumps(STUDY | change).replace("VERSION", version))
    answer = ada.post("/v1/studies", json=asked)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"].startswith(pointer)
    assert said in answer.text
    assert ada.get("/v1/jobs").json()["items"] == []


def test_full_evidence_asks_only_the_sets_that_a_trait_has_and_says_what_it_leaves_out(ada: httpx2.Client) -> None:
    assert ada.post("/v1/traits", json=small("odd", 3) | {"paraphrases": ["a ?"]}).status_code == 201
    asked = STUDY | {"traits": ["refusal", "odd"], "evidence": "full"}
    left_out = "odd: no unrelated question, so the study leaves this set out of its evidence."
    plan = ada.post("/v1/studies", params={"dry_run": "true"}, json=asked)
    assert plan.status_code == 200, plan.text
    made = ada.post("/v1/studies", json=asked)
    assert made.status_code == 202, made.text
    for answer in (plan, made):
        assert [one for one in answer.json()["warnings"] if "leaves this set out" in one] == [left_out]
    nodes = ada.get(f"/v1/studies/{made.json()['id']}").json()["nodes"]
    sets = {
        name: ada.get(f"/v1/jobs/{nodes[f'steer/demo/{name}']['job']}").json()["spec"]["extra_sets"] for name in asked["traits"]
    }
    assert sets == {"refusal": ["paraphrases", "unrelated"], "odd": ["paraphrases"]}


def test_cancelling_a_study_cancels_its_jobs_and_its_report_is_still_written(ada: httpx2.Client, study: dict[str, Any]) -> None:
    assert ada.post(f"/v1/jobs/{study['job']}/cancel").status_code == 202
    found = ada.get(f"/v1/studies/{study['id']}").json()
    assert found["progress"] == {"cancelled": 5}
    assert found["state"] == "queued"  # it writes the results that exist, and names those that are missing
    assert ada.get(f"/v1/jobs/{study['job']}").json()["waiting_for"] == []
    assert ada.post(f"/v1/jobs/{study['job']}/cancel").status_code == 202
    assert ada.get(f"/v1/studies/{study['id']}").json()["state"] == "cancelled"


def test_a_study_made_while_the_clock_stepped_back_can_be_cancelled(ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids then do not sort in order of submission; a job that was needed was cancelled first, and the job after it could not be."""
    clock = itertools.count(1_800_000_000, -1)
    monkeypatch.setattr("app.ids.time", SimpleNamespace(time=lambda: next(clock)))
    made = ada.post("/v1/studies", json=STUDY).json()
    monkeypatch.undo()
    job = ada.get(f"/v1/studies/{made['id']}").json()["job"]
    assert ada.post(f"/v1/jobs/{job}/cancel").status_code == 202
    assert ada.get(f"/v1/studies/{made['id']}").json()["progress"] == {"cancelled": 5}


@pytest.mark.parametrize("route", ["/v1/jobs/{job}/retry", "/v1/studies/{id}/retry"], ids=["its job", "the study"])
def test_a_retry_makes_new_jobs_only_for_those_that_failed(
    api: Running, ada: httpx2.Client, study: dict[str, Any], sessions: sessionmaker[Session], route: str
) -> None:
    """The address of the study and that of its job both retry the graph."""
    address = route.format(**study)
    assert ada.post(address).status_code == 409  # nothing is over yet
    succeed(sessions, api.context.storage, claim(sessions))  # the calibration
    fail(sessions, claim(sessions))  # one extraction, and with it its steering
    ada.post(f"/v1/jobs/{study['job']}/cancel")
    ada.post(f"/v1/jobs/{study['job']}/cancel")
    again = ada.post(address, headers={"Idempotency-Key": "once"})
    assert again.status_code == 202, again.text
    assert ada.post(address, headers={"Idempotency-Key": "once"}).json()["id"] == again.json()["id"]
    assert again.json()["retry_of"] == study["job"]
    new = ada.get(f"/v1/studies/{again.json()['id']}").json()
    old = ada.get(f"/v1/studies/{study['id']}").json()
    kept = [name for name in NODES if new["nodes"][name]["job"] == old["nodes"][name]["job"]]
    assert kept == ["calibrate/demo"]
    assert new["progress"] == {"succeeded": 1, "queued": 4}
    steering = ada.get(f"/v1/jobs/{new['nodes']['steer/demo/refusal']['job']}").json()
    assert new["nodes"]["extract/demo/refusal"]["job"] in steering["waiting_for"]
    assert steering["spec"]["extraction"] == new["nodes"]["extract/demo/refusal"]["job"]
    assert len(ada.get("/v1/studies").json()["items"]) == 2


def test_a_study_has_the_name_that_its_job_has_now_and_its_retry_and_labelled_study_keep_what_was_edited(
    api: Running, ada: httpx2.Client, study: dict[str, Any], sessions: sessionmaker[Session]
) -> None:
    """As other jobs do. The list showed the first name for good, a retry had the first name and tags and no notes, and the stored request
    kept them all: a note that was removed stayed readable."""
    edited = {"name": "sweep 2", "tags": ["paper"], "notes": "with the longer prompts"}
    assert ada.patch(f"/v1/jobs/{study['job']}", json=edited).status_code == 200
    assert [listed["title"] for listed in ada.get("/v1/studies").json()["items"]] == ["sweep 2"]
    ada.post(f"/v1/jobs/{study['job']}/cancel")
    finish_everything(sessions, api.context.storage)  # the report, of nothing
    labels = {"labels": {"t0123456789ab": 1}}
    for again in (ada.post(f"/v1/studies/{study['id']}/retry"), ada.post(f"/v1/studies/{study['id']}/labels", json=labels)):
        assert again.status_code == 202, again.text
        assert {name: again.json()[name] for name in edited} == edited
        assert ada.get(f"/v1/studies/{again.json()['id']}").json()["title"] == "sweep 2"
        with sessions() as session:
            kept = session.scalar(select(Study.spec).where(Study.job_id == again.json()["id"]))
        assert kept is not None
        assert {name: kept[name] for name in edited} == edited
        assert {name: ada.get(f"/v1/studies/{again.json()['id']}").json()["spec"][name] for name in edited} == edited
    assert {name: ada.get(f"/v1/studies/{study['id']}").json()["spec"][name] for name in edited} == edited


@pytest.mark.parametrize("route", ["/v1/jobs/{job}/retry", "/v1/studies/{id}/retry"], ids=["its job", "the study"])
def test_a_study_is_not_retried_before_its_report_is_written(
    api: Running, ada: httpx2.Client, study: dict[str, Any], sessions: sessionmaker[Session], route: str
) -> None:
    address = route.format(**study)
    assert len(finish_everything(sessions, api.context.storage, ["model"])) == len(NODES)
    refused = ada.post(address)
    assert (refused.status_code, refused.json()["code"]) == (409, "study_not_over"), refused.text
    assert "not ended: report." in refused.json()["detail"]
    finish_everything(sessions, api.context.storage)
    assert ada.post(address).json()["code"] == "job_not_retryable"
    assert len(ada.get("/v1/studies").json()["items"]) == 1


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", "/retry"), ("POST", "/labels")], ids=["shown", "retried", "labelled"]
)
def test_a_study_that_is_deleted_while_it_is_read_is_not_found(
    ada: httpx2.Client, study: dict[str, Any], sessions: sessionmaker[Session], method: str, path: str
) -> None:
    with deleted_when_read(ada, study, sessions):
        body = {"labels": {"t0123456789ab": 1}} if path == "/labels" else None
        answer = ada.request(method, f"/v1/studies/{study['id']}{path}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


def test_a_list_does_not_end_at_a_study_that_is_deleted_while_it_is_read(
    ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    made = [ada.get(f"/v1/studies/{ada.post('/v1/studies', json=STUDY).json()['id']}").json() for _ in range(3)]
    with deleted_when_read(ada, made[-1], sessions):
        first = ada.get("/v1/studies", params={"limit": 1}).json()
    second = ada.get("/v1/studies", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for page in (first, second) for one in page["items"]] == [made[1]["id"], made[0]["id"]]


def test_a_list_of_studies_takes_as_many_statements_as_one(ada: httpx2.Client) -> None:
    """It read the jobs of each study by themselves: 100 statements for 50 studies."""
    each = []
    for number in (1, 3):
        for _ in range(number):
            assert ada.post("/v1/studies", json=STUDY).status_code == 202
        each.append(min(_statements_of_list(ada) for _ in range(4)))  # others of the process only add
    assert len(ada.get("/v1/studies").json()["items"]) == 4
    assert each[1] == each[0]


def _statements_of_list(ada: httpx2.Client) -> int:
    with statements() as asked:
        assert ada.get("/v1/studies").status_code == 200
    return len(asked)


@contextmanager
def deleted_when_read(ada: httpx2.Client, study: dict[str, Any], sessions: sessionmaker[Session]) -> Iterator[None]:
    """Within the block, the first statement that reads studies is followed at once by the deletion of this one's report."""
    for _ in range(2):
        ada.post(f"/v1/jobs/{study['job']}/cancel")
    waiting = [True]

    def executed(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM studies" in statement and waiting:
            waiting.clear()
            with sessions.begin() as session:
                delete_job(session, study["job"], Viewer("ada", "member"))

    event.listen(Engine, "after_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(Engine, "after_cursor_execute", executed)
    assert not waiting


def test_two_labels_of_one_text_are_refused(ada: httpx2.Client, study: dict[str, Any]) -> None:
    """One by the id of an earlier sheet; only one of them would count."""
    answer = ada.post(f"/v1/studies/{study['id']}/labels", json={"labels": {"t0123456789ab": 1, "0123456789ab": 2}})
    assert answer.status_code == 422, answer.text
    assert "Send one of them" in answer.json()["errors"][0]["detail"]
