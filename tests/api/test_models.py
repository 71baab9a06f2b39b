"""The list of models: a registered model is inspected and proved, and what that finds decides what may be submitted."""

from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session, sessionmaker

from app.devices.models import Worker
from app.jobs import endings
from tests.api.conftest import FACTS, Running, submit
from tests.api.extracted import store_extraction
from tests.api.lives import claim, fail, inspect, prove, succeed

pytestmark = pytest.mark.usefixtures("specs_as_written")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def inspected(sessions: sessionmaker[Session], facts: dict[str, object]) -> None:
    """Ends the next inspection with these facts, and the next prove job with success."""
    inspect(sessions, facts)
    prove(sessions, **{name: facts[name] for name in ("weight_hash",)})


def test_a_registered_model_is_inspected_and_proved_and_then_ready(admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    answer = admin.post("/v1/models", json={"name": "new", "source": "/models/new"})
    job = answer.json()
    assert (answer.status_code, answer.headers["Location"], job["kind"]) == (202, job["links"]["self"], "inspect")
    assert job["spec"] == {"kind": "inspect", "model": "new", "source": "/models/new", "revision": None}
    assert admin.get("/v1/models/new").json()["state"] == "inspecting"
    inspect(sessions, FACTS)
    model = admin.get("/v1/models/new").json()
    assert (model["state"], model["outcome"], model["proofs"], model["facts"]["layers"]) == ("proving", "unproven", [], 8)
    proved = prove(sessions, outcome="limited").job
    model = admin.get("/v1/models/new").json()
    assert (model["state"], model["facts"], model["fault"]) == ("ready", FACTS, None)
    assert (model["outcome"], model["links"]["prove_job"]) == ("limited", f"/v1/jobs/{proved.id}")
    [proof] = model["proofs"]
    assert (proof["name"], proof["outcome"], proof["unit"]) == ("paths agree", "limited", "relative")
    assert (proved.owner, admin.get(f"/v1/jobs/{proved.id}").json()["metrics"]["device_seconds"]) == ("root", 3.0)
    assert admin.get(job["links"]["self"]).json()["result"]["model"]["layers"] == 8


def test_requests_are_refused_with_a_models_fault_until_it_is_inspected_again(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    admin.post("/v1/models", json={"name": "new", "source": "/models/new"})
    waiting = submit(ada, model="new")
    fail(sessions, claim(sessions, "light"), code="no_safetensors")
    assert admin.get("/v1/models/new").json()["fault"]["code"] == "no_safetensors", "not that of the prove job that fell with it"
    assert ada.get(waiting["links"]["self"]).json()["error"]["code"] == "dependency_failed"
    refused = ada.post("/v1/calibrations", json={"model": "new"}).json()
    assert refused["code"] == "faulty_model"
    assert "no_safetensors: It broke. Mend it." in refused["detail"]
    again = admin.post("/v1/models/new/inspect")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    inspected(sessions, FACTS)
    submit(ada, model="new")


def test_a_job_that_failed_with_its_models_inspection_is_retried_once_the_model_is_ready(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    admin.post("/v1/models", json={"name": "new", "source": "/models/new"})
    waiting = submit(ada, model="new")
    fail(sessions, claim(sessions, "light"))
    remedy = "Once the model new is ready (an administrator can inspect it again), retry this job."
    assert ada.get(waiting["links"]["self"]).json()["error"]["detail"].endswith(f"It broke. Mend it. {remedy}")
    refused = ada.post(f"{waiting['links']['self']}/retry")
    assert (refused.status_code, refused.json()["detail"].endswith(remedy)) == (422, True)
    admin.post("/v1/models/new/inspect")
    early = ada.post(f"{waiting['links']['self']}/retry").json()
    assert early["waiting_for"] == [admin.get("/v1/models/new").json()["prove_job"]]
    inspected(sessions, FACTS)
    assert ada.post(f"{waiting['links']['self']}/retry").json()["waiting_for"] == []


def test_retrying_a_failed_inspection_mends_the_model_too(admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    job = admin.post("/v1/models", json={"name": "new", "source": "/models/new"}).json()
    fail(sessions, claim(sessions, "light"))
    admin.post(f"{job['links']['self']}/retry")
    inspected(sessions, FACTS)
    assert admin.get("/v1/models/new").json()["state"] == "ready"


def test_a_retried_download_is_followed_by_an_inspection_though_its_owners_queue_is_full(
    admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """What an admitted job brings with it is admitted too: otherwise a quota would undo the download's ending."""
    admin.post("/v1/models", json={"name": "new", "source": "google/gemma", "revision": COMMIT})
    download = claim(sessions, "light")
    fail(sessions, download)
    admin.post(f"/v1/jobs/{download.job.id}/retry")
    assert admin.put("/v1/quotas/root", json={"max_queued": 0}).status_code == 200
    lease = claim(sessions, "light")
    with sessions.begin() as session:
        endings.succeed(session, lease.job.id, lease.token, {}, [], metrics={})
    assert admin.get("/v1/models/new").json()["state"] == "inspecting"
    assert claim(sessions, "light").job.kind == "inspect"


def test_jobs_of_a_model_that_is_not_inspected_yet_take_the_limits_along(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """How many layers there are is known only after the inspection, so that the jobs check these limits."""
    admin.post("/v1/models", json={"name": "new", "source": "/models/new"})
    body = {"model": "new", "trait": "refusal", "methods": ["probe"]}
    dry = {"params": {"dry_run": "true"}}
    spec = ada.post("/v1/extractions", json=body, **dry).json()["spec"]
    assert spec["limits"] == {"vectors": 20_000, "rows_bytes": 512 << 20}
    grid = {**body, "budget": 6, "selection_limit": 5}
    cost = ada.post("/v1/steerings", json=grid, **dry).json()
    assert (cost["cells"], cost["spec"]["most_searched"]) == (1, 1 + (cost["limit"] - cost["answers"]) // (6 * 5))
    inspected(sessions, FACTS)
    for path in ("extractions", "steerings"):
        assert not {"limits", "most_searched"} & ada.post(f"/v1/{path}", json=body, **dry).json()["spec"].keys()


def test_a_model_is_inspected_once_at_a_time_so_that_waiting_jobs_keep_their_proof(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    first = admin.post("/v1/models", json={"name": "new", "source": "/models/new"}).json()
    waiting = submit(ada, model="new")
    refused = admin.post("/v1/models/new/inspect")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_being_inspected")
    assert f"POST /v1/jobs/{first['id']}/cancel" in refused.json()["detail"]
    inspect(sessions, FACTS)
    refused = admin.post("/v1/models/new/inspect").json()
    assert refused["facts"] == {"job": admin.get("/v1/models/new").json()["prove_job"]}
    prove(sessions)
    assert claim(sessions).job.id == waiting["id"]
    assert admin.post("/v1/models/new/inspect").status_code == 202


def test_a_cancelled_inspection_makes_room_for_another(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    first = admin.post("/v1/models", json={"name": "new", "source": "/models/new"}).json()
    waiting = submit(ada, model="new")["links"]["self"]
    admin.post(f"{first['links']['self']}/cancel")
    assert admin.post("/v1/models/new/inspect").status_code == 202
    retried = ada.post(f"{waiting}/retry").json()
    inspected(sessions, FACTS)
    assert claim(sessions).job.id == retried["id"]


def test_an_older_inspection_does_not_overwrite_what_a_later_one_found(
    admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    first = admin.post("/v1/models", json={"name": "new", "source": "/models/new"}).json()
    fail(sessions, claim(sessions, "light"))
    admin.post("/v1/models/new/inspect")
    inspected(sessions, {**FACTS, "layers": 9})
    admin.post(f"{first['links']['self']}/retry")
    inspect(sessions, FACTS)
    assert admin.get("/v1/models/new").json()["facts"]["layers"] == 9


def test_a_retried_inspection_that_waits_for_its_retried_download_stays_the_models(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    first = admin.post("/v1/models", json={"name": "new", "source": "google/gemma", "revision": COMMIT}).json()
    download = claim(sessions, "light")
    fail(sessions, download)
    admin.post(f"/v1/jobs/{download.job.id}/retry")
    again = admin.post(f"{first['links']['self']}/retry").json()
    lease = claim(sessions, "light")
    with sessions.begin() as session:
        endings.succeed(session, lease.job.id, lease.token, {}, [], metrics={})
    inspected(sessions, FACTS)
    model = admin.get("/v1/models/new").json()
    assert (model["state"], model["inspect_job"]) == ("ready", again["id"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "x y", "source": "/m"}, "string_pattern_mismatch"),
        ({"name": "../x", "source": "/m"}, "string_pattern_mismatch"),
        ({"name": "x", "source": "relative/path/x"}, "invalid_source"),
        ({"name": "x", "source": "https://example.org/model"}, "invalid_source"),
        ({"name": "x", "source": "google/gemma-3-4b-it"}, "revision_missing"),
        ({"name": "x", "source": "google/gemma-3-4b-it", "revision": "main"}, "string_pattern_mismatch"),
        ({"name": "x", "source": "/m", "revision": COMMIT}, "revision_of_a_folder"),
        ({"name": "x", "source": "/m", "trust_remote_code": True}, "unknown_field"),
        ({"name": "x", "source": "/m\u0000"}, "invalid_characters"),
    ],
)
def test_sources_are_folders_or_pinned_hub_models(admin: httpx2.Client, body: dict[str, object], code: str) -> None:
    refused = admin.post("/v1/models", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)


def test_a_pinned_hub_model_is_downloaded_before_it_is_inspected(admin: httpx2.Client) -> None:
    answer = admin.post("/v1/models", json={"name": "x", "source": "google/gemma-3-4b-it", "revision": COMMIT})
    assert (answer.status_code, answer.json()["spec"]["revision"]) == (202, COMMIT)
    [download] = answer.json()["waiting_for"]
    job = admin.get(f"/v1/jobs/{download}").json()
    assert (job["kind"], job["spec"]["source"], job["waiting_for"]) == ("download", "google/gemma-3-4b-it", [])


def test_a_name_is_registered_once(admin: httpx2.Client) -> None:
    refused = admin.post("/v1/models", json={"name": "demo", "source": "/elsewhere"})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_exists")


def test_a_removed_model_cannot_be_named_and_its_results_stay(
    api: Running, admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Refused while an unfinished job needs it; afterwards calibrations, extractions and vectors read as before, and it may come back."""
    job = submit(ada)
    refused = admin.delete("/v1/models/demo").json()
    assert (refused["code"], refused["facts"]["used_by"]) == ("model_in_use", [job["id"]])
    succeed(sessions, api.context.storage, claim(sessions))
    extraction, extracted_by = store_extraction(sessions, api.context.storage, "ada", "0" * 64)
    assert admin.delete("/v1/models/demo").status_code == 204
    assert admin.delete("/v1/models/demo").status_code == 404
    assert ada.get("/v1/models").json()["items"] == []
    model = ada.get("/v1/models/demo").json()
    assert (model["removed_at"] is not None, model["facts"]) == (True, FACTS)
    for path in (f"/v1/calibrations/{job['id']}", f"/v1/extractions/{extraction}", f"/v1/vectors?extraction={extraction}"):
        assert ada.get(path).status_code == 200, path
    export = ada.post(f"/v1/extractions/{extracted_by}/exports", json={"format": "npy"})
    assert export.status_code == 202, export.text
    ada.post(f"/v1/jobs/{export.json()['id']}/cancel")
    assert ada.post("/v1/calibrations", json={"model": "demo"}).json()["code"] == "unknown_model"
    assert admin.post("/v1/models/demo/inspect").status_code == 404
    again = admin.post("/v1/models", json={"name": "demo", "source": "/models/elsewhere"})
    assert again.status_code == 202, again.text
    inspected(sessions, FACTS)
    model = ada.get("/v1/models/demo").json()
    assert (model["state"], model["source"], model["removed_at"]) == ("ready", "/models/elsewhere", None)
    assert ada.get(f"/v1/calibrations/{job['id']}").json()["stale"] is False
    actions = [one["action"] for one in admin.get("/v1/audit", params={"object": "demo"}).json()["items"]]
    assert actions == ["model.register", "model.delete"]


def test_a_failed_job_of_a_removed_model_is_not_retried(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada)
    fail(sessions, claim(sessions))
    admin.delete("/v1/models/demo")
    refused = ada.post(f"/v1/jobs/{job['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_shared")
    assert "the model demo" in refused.json()["detail"]


def test_a_model_that_judges_or_scores_an_unfinished_job_stays(api: Running, admin: httpx2.Client, ada: httpx2.Client) -> None:
    """It is behind the judge's name, and in the spec of jobs that were submitted with that judge."""
    api.add_model("reader")
    admin.post("/v1/judges", json={"name": "local", "kind": "local", "model": "reader"})
    vetting = {"judge": "local", "threshold": 50}
    asked = ada.post("/v1/extractions", json={"model": "demo", "trait": "refusal", "vetting": vetting})
    assert asked.status_code == 202, asked.text
    assert admin.delete("/v1/models/reader").json()["facts"]["used_by"] == [asked.json()["id"]]
    ada.post(f"/v1/jobs/{asked.json()['id']}/cancel")
    refused = admin.delete("/v1/models/reader").json()
    assert (refused["code"], "DELETE /v1/judges/NAME" in refused["detail"]) == ("model_in_use", True)
    assert refused["facts"]["used_by"] == ["local"]
    admin.delete("/v1/judges/local")
    assert admin.delete("/v1/models/reader").status_code == 204


def test_models_are_listed_by_name_page_by_page(api: Running, ada: httpx2.Client) -> None:
    for name in ("c", "a", "b"):
        api.add_model(name)
    first = ada.get("/v1/models", params={"limit": 3}).json()
    assert [model["name"] for model in first["items"]] == ["a", "b", "c"]
    second = ada.get("/v1/models", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert ([model["name"] for model in second["items"]], second["next_cursor"]) == (["demo"], None)


def test_a_model_says_how_large_its_weights_are_and_where_they_fit(
    api: Running, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """The oracle is arithmetic on paper: 3,000,000,000 parameters are 12e9 bytes in float32 and 6e9 in bfloat16."""
    capacities = {
        "model-0@gpu": {"budget": 8 << 30, "dtype": "bfloat16", "device_free": 1, "device_total": 80 << 30},
        "model-1@cpu": {"budget": 40 << 30, "dtype": "float32", "device_total": 8 << 30},
        "model-2@old": {},  # it has not said what it can hold
    }
    with sessions.begin() as session:
        for name, memory in capacities.items():
            row = {"device": "cuda:0", "host": "here", "parent_pid": 1, "version": "test", "memory": memory}
            session.add(Worker(id=name, job_class="model", **row))
        gone = {
            "device": "cuda:0",
            "host": "sold",
            "parent_pid": 1,
            "version": "test",
            "memory": {"budget": 80 << 30, "dtype": "bfloat16"},
        }
        session.add(Worker(id="model-3@sold", job_class="model", seen_at=func.now() - timedelta(days=400), **gone))
        session.add(Worker(id="light-0@cpu", job_class="light", device="none", host="here", parent_pid=1, version="test"))
    admin.post("/v1/models", json={"name": "large", "source": "/models/large"})
    waiting = admin.get("/v1/models/large").json()
    assert (waiting["weights_bytes"], waiting["fits"]) == (None, None)
    inspected(sessions, {**FACTS, "n_parameters": 3_000_000_000})
    model = admin.get("/v1/models/large").json()
    assert model["weights_bytes"] == {"float32": 12_000_000_000, "bfloat16": 6_000_000_000, "float16": 6_000_000_000}
    found = {fit["worker"]: (fit["fits"], fit["weights_bytes"], fit["limit_bytes"]) for fit in model["fits"]}
    assert found == {
        "model-0@gpu": (True, 6_000_000_000, 8 << 30),
        "model-1@cpu": (False, 12_000_000_000, 8 << 30),
    }
    assert model["fits"][1]["arithmetic"] == (
        "3,000,000,000 parameters x 4 bytes (float32) = 11.18 GiB; its device's memory is 8.00 GiB"
    )
    assert admin.get("/v1/models").json()["items"][-1] == model
