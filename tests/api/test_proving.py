"""The proofs of a model: which jobs wait for them, what a refusal stops, and which earlier results are reused afterwards."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, sessionmaker

from app.devices.models import Worker
from app.jobs.models import Job
from app.models.models import Model, Passport
from app.models.proving import prove_when_idle
from tests.api.conftest import FACTS, Running, submit
from tests.api.extracted import store_extraction
from tests.api.lives import SUMMARY, claim, fail, inspect, passport, prove, succeed

OTHER = "e" * 64
PROGRAMS = passport()["content"]["programs"]
UNPROVEN = {name: value for name, value in FACTS.items() if name not in ("reading_hash", "proofs_version")}


def register(admin: httpx2.Client, name: str = "new") -> dict[str, Any]:
    """Registers a model; returns it as the API then shows it."""
    assert admin.post("/v1/models", json={"name": name, "source": f"/models/{name}"}).status_code == 202
    return model(admin, name)


def model(client: httpx2.Client, name: str = "new") -> dict[str, Any]:
    return dict(client.get(f"/v1/models/{name}").json())


def job(client: httpx2.Client, job_id: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/jobs/{job_id}").json())


def set_reading(sessions: sessionmaker[Session], reading: str | None = OTHER, name: str = "demo") -> None:
    """Sets the model's reading hash, as if newer programs read it differently; None: as if it had never been proved."""
    with sessions.begin() as session:
        row = session.get_one(Model, name)
        row.facts = {**row.facts, "reading_hash": reading}


def idle(sessions: sessionmaker[Session], programs: dict[str, Any] = PROGRAMS) -> str | None:
    """Submits the proofs that a service submits when it is idle; returns their model, if any."""
    with sessions.begin() as session:
        worker = {"job_class": "model", "device": "cpu", "host": "here", "parent_pid": 1, "version": "test"}
        session.merge(Worker(id="test-model", **worker))
        session.flush()
        session.execute(update(Worker).values(started_at=text("now() - interval '1 hour'"), seen_at=text("now()")))
        session.execute(update(Job).values(finished_at=text("finished_at - interval '1 hour'")))
        made = prove_when_idle(session, programs, 60)
        return None if made is None else made.model


def test_jobs_wait_for_the_proofs_whether_they_came_before_or_after_the_inspection(
    api: Running, admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    proof = register(admin)["prove_job"]
    early = submit(ada, model="new")
    assert (early["waiting_for"], early["spec"]["reading_hash"]) == ([proof], None)
    inspect(sessions, FACTS)
    assert (
        admin.patch(f"/v1/jobs/{proof}", json={"visibility": "private"}).status_code == 200
    )  # a job may wait for it all the same
    late = submit(ada, model="new", max_new_tokens=7)
    assert (late["state"], model(ada)["state"]) == ("queued", "proving")
    assert claim(sessions).job.id == proof, "nothing else is ready"
    refused = admin.delete("/v1/models/new").json()
    assert refused["code"] == "model_in_use"
    assert proof in refused["facts"]["used_by"]


def test_a_model_that_is_ready_gives_its_reading_to_jobs(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    register(admin)
    waiting = submit(ada, model="new")["id"]
    inspect(sessions, FACTS)
    prove(sessions)
    assert submit(ada, model="new", max_new_tokens=7)["spec"]["reading_hash"] == FACTS["reading_hash"]
    assert claim(sessions).job.id == waiting


def test_a_cancelled_proof_is_retried_by_its_job(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Also one that was cancelled while the files were still inspected: the inspection then makes no other."""
    proof = register(admin)["prove_job"]
    waiting = submit(ada, model="new")["id"]
    admin.post(f"/v1/jobs/{proof}/cancel")
    assert job(ada, waiting)["error"]["code"] == "dependency_failed"
    inspect(sessions, FACTS)
    shown = model(admin)
    assert (shown["state"], shown["fault"]["code"], shown["prove_job"]) == ("faulty", "cancelled", proof)
    refused = ada.post("/v1/calibrations", json={"model": "new"})
    assert refused.status_code == 422
    assert refused.json()["detail"].endswith(f"Retry them: POST /v1/jobs/{proof}/retry.")
    again = admin.post(f"/v1/jobs/{proof}/retry").json()["id"]
    prove(sessions)
    assert (model(admin)["state"], model(admin)["prove_job"]) == ("ready", again)


def test_proofs_after_a_second_inspection_must_end_before_the_model_is_usable_again(
    admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    register(admin)
    inspect(sessions, FACTS)
    prove(sessions)
    admin.post("/v1/models/new/inspect")
    inspect(sessions, FACTS)
    lease = claim(sessions)
    fail(sessions, lease, code="out_of_memory")
    assert model(admin)["fault"]["facts"] == {"retry": lease.job.id}
    assert "files are corrected" not in ada.post("/v1/calibrations", json={"model": "new"}).json()["detail"]
    admin.post(f"/v1/jobs/{lease.job.id}/retry")
    prove(sessions)
    assert model(admin)["state"] == "ready"


def test_a_retried_inspection_is_followed_by_proofs_though_its_owners_queue_is_full(
    admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """What an admitted job brings with it is admitted too: its ending must not fail for a quota."""
    register(admin)
    first = model(admin)
    fail(sessions, claim(sessions, "light"))
    admin.post(f"/v1/jobs/{first['inspect_job']}/retry")
    assert admin.put("/v1/quotas/root", json={"max_queued": 0}).status_code == 200
    inspect(sessions, FACTS)
    assert model(admin)["state"] == "proving"
    assert model(admin)["prove_job"] != first["prove_job"]
    prove(sessions)
    assert model(admin)["state"] == "ready"


def test_an_older_proof_does_not_count_for_a_model_that_was_inspected_again(
    admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    register(admin)
    inspect(sessions, FACTS)
    prove(sessions)
    assert idle(sessions, {"proofs": 2}) == "demo"
    prove(sessions)
    assert idle(sessions, {"proofs": 2}) == "new"
    old = claim(sessions)
    assert admin.post("/v1/models/new/inspect").status_code == 202
    inspect(sessions, {**FACTS, "weight_hash": "f" * 64})
    prove(sessions, old, outcome="refused")
    assert model(admin)["state"] == "proving"
    prove(sessions, weight_hash="f" * 64)
    assert (model(admin)["state"], model(admin)["outcome"]) == ("ready", "passed")


def test_a_refusal_stops_new_jobs_and_marks_old_results(
    api: Running, admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """A model of an older inspection stays usable until the device is idle; then it is proved, at its administrator's cost."""
    set_reading(sessions, None)
    calibration = submit(ada)
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": {**SUMMARY, "reading_hash": None}})
    vectors, _ = store_extraction(sessions, api.context.storage, "ada", "0" * 64, reading_hash=None)
    assert (model(ada, "demo")["state"], model(ada, "demo")["outcome"]) == ("ready", "unproven")
    before = ada.get(f"/v1/calibrations/{calibration['id']}").json()["doubt"]
    assert "before the model was proved" in before
    assert idle(sessions) == "demo"
    lease = claim(sessions)
    assert (lease.job.owner, lease.job.priority) == ("admin", -10)
    prove(sessions, lease, outcome="refused")
    shown = model(ada, "demo")
    assert (shown["state"], shown["outcome"], shown["fault"]["code"]) == ("faulty", "refused", "proof_refused")
    refused = ada.post("/v1/calibrations", json={"model": "demo"})
    assert (refused.status_code, "It refused. Do this." in refused.json()["detail"]) == (422, True)
    for path in (f"/v1/calibrations/{calibration['id']}", f"/v1/extractions/{vectors}"):
        assert ada.get(path).json()["doubt"] == "The model was refused later: paths agree: It refused. Do this."
    listed = ada.get("/v1/vectors", params={"extraction": vectors}).json()["items"]
    assert {one["doubt"] for one in listed} == {"The model was refused later: paths agree: It refused. Do this."}


@pytest.mark.parametrize("kept", ["passed", "limited"])
def test_a_refusal_does_not_replace_the_passport_of_a_model_with_the_same_content(
    kept: str, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Two proofs of one content may disagree: a model may be proved twice at once, or a kernel may not be the same each time."""
    for name, outcome in (("first", kept), ("second", "refused")):
        register(admin, name)
        inspect(sessions, FACTS)
        prove(sessions, outcome=outcome)
    assert (model(admin, "first")["state"], model(admin, "first")["outcome"]) == ("ready", kept)
    assert (model(admin, "second")["state"], model(admin, "second")["outcome"]) == ("faulty", "unproven")
    assert model(admin, "second")["fault"]["code"] == "proof_refused"


def test_a_passport_that_replaces_a_refusal_has_its_own_time(admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    made = {}
    for name, outcome in (("first", "refused"), ("second", "passed")):
        register(admin, name)
        inspect(sessions, FACTS)
        prove(sessions, outcome=outcome)
        with sessions() as session:
            made[outcome] = session.scalars(select(Passport)).one()
    assert (made["passed"].key, made["passed"].outcome) == (made["refused"].key, "passed")
    assert made["passed"].created_at > made["refused"].created_at


@pytest.mark.parametrize("code", ["cancelled", "out_of_memory"])
def test_a_model_that_was_usable_stays_so_when_its_proofs_fail_and_is_not_tried_again_by_itself(
    code: str, admin: httpx2.Client, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    set_reading(sessions, None)
    assert idle(sessions) == "demo"
    fail(sessions, claim(sessions), code=code)
    assert (model(ada, "demo")["state"], model(ada, "demo")["outcome"]) == ("ready", "unproven")
    submit(ada)
    assert idle(sessions) is None
    admin.post(f"/v1/jobs/{model(ada, 'demo')['prove_job']}/retry")
    assert claim(sessions).job.owner == "ada", "a person's job is not behind the proofs"


def test_models_are_proved_when_idle_one_at_a_time_and_again_for_other_programs(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    for name in ("a", "b"):
        api.add_model(name, facts=UNPROVEN)
    waiting = submit(ada)
    assert idle(sessions) is None, "a job waits for the device"
    ada.post(f"/v1/jobs/{waiting['id']}/cancel")
    assert (idle(sessions), idle(sessions)) == ("a", None)
    prove(sessions)
    assert idle(sessions) == "b"
    prove(sessions)
    assert idle(sessions) == "demo"
    prove(sessions)
    assert idle(sessions) is None
    newer = {**PROGRAMS, "torch": "2.14.0"}
    assert idle(sessions, newer) == "a"
    prove(sessions, programs=newer)
    assert (idle(sessions, newer), idle(sessions)) == ("b", None), (
        "programs that a model was proved with before do not take turns"
    )


def test_only_results_of_the_current_reading_are_reused(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Calibrations, whole jobs, captured rows and extractions: those of another reading are shown as such and made again."""
    first = submit(ada)
    succeed(sessions, api.context.storage, claim(sessions))
    version = ada.get("/v1/traits/refusal").json()["version"]
    extraction, extracted_by = store_extraction(sessions, api.context.storage, "ada", version)
    cleaned = {"model": "demo", "trait": "refusal", "methods": ["mean_diff_cleaned"], "layers": [2]}

    def used() -> dict[str, Any]:
        spec = ada.post("/v1/extractions", json=cleaned).json()["spec"]
        steered = ada.post("/v1/steerings", json={"model": "demo", "trait": "refusal", "methods": ["probe"], "layers": [2]})
        return {
            "calibration": spec["calibration"]["job"] == first["id"],
            "rows": spec["rows_key"],
            "job": ada.post("/v1/calibrations?reuse=true", json={"model": "demo"}).status_code == 200,
            "extraction": steered.json()["spec"]["extraction"] == extracted_by,
        }

    def doubts() -> set[str | None]:
        return {ada.get(f"/v1/{path}").json()["doubt"] for path in (f"calibrations/{first['id']}", f"extractions/{extraction}")}

    before = used()
    assert before == {"calibration": True, "rows": before["rows"], "job": True, "extraction": True}
    assert (before["rows"] is not None, doubts()) == (True, {None})
    set_reading(sessions)
    after = used()
    assert after == {"calibration": False, "rows": after["rows"], "job": False, "extraction": False}
    assert after["rows"] not in (None, before["rows"])
    [doubt] = doubts()
    assert doubt is not None
    assert f"read differently (reading {'d' * 12} then, {'e' * 12} now)" in doubt
    set_reading(sessions, None)
    assert used() == {"calibration": False, "rows": None, "job": False, "extraction": False}, "an unknown reading equals none"


def test_a_job_that_ran_under_another_reading_than_it_was_submitted_under_is_not_reused(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Submitted under one reading, run by newer programs for which nothing was proved: its result says so."""
    submit(ada)
    succeed(sessions, api.context.storage, claim(sessions), {"calibration": {**SUMMARY, "reading_hash": None}})
    assert ada.post("/v1/calibrations?reuse=true", json={"model": "demo"}).status_code == 202
