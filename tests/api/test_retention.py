"""An administrator removes old results; those of kept jobs, of the jobs these were made of, and of what unfinished jobs need stay."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.orm import ORMExecuteState, Session, sessionmaker

from app.extractions.models import Vector
from app.jobs.holding import Reads, hold
from app.retention import repository, service
from tests.api.conftest import Running, submit
from tests.api.extracted import store_extraction
from tests.api.lives import FILE, claim, fail, succeed
from tests.counting import statements

DAYS = 30


@pytest.fixture
def done(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> Any:
    """Makes jobs with one file that finished so many days ago."""

    def make(days: float, data: bytes = FILE, **body: Any) -> str:
        job = submit(ada, **body)
        succeed(sessions, api.context.storage, claim(sessions), data=data)
        with sessions.begin() as session:
            ago = {"days": days, "id": job["id"]}
            session.execute(
                text("UPDATE jobs SET finished_at = now() - make_interval(secs => :days * 86400) WHERE id = :id"), ago
            )
            session.execute(text("UPDATE blobs SET touched_at = now() - interval '2 days'"))
        return str(job["id"])

    return make


def old(admin: httpx2.Client) -> list[str]:
    """The jobs with results older than DAYS that may be removed."""
    return [one["job"] for one in admin.get("/v1/retention", params={"older_than_days": DAYS}).json()["items"]]


def test_looking_removes_nothing_and_shows_ages_and_bytes(admin: httpx2.Client, ada: httpx2.Client, done: Any) -> None:
    oldest, older = done(90, b"nine", name="first"), done(31, b"eleven bytes")
    done(29, b"young")
    told = admin.get("/v1/retention", params={"older_than_days": DAYS}).json()
    assert (told["removed"], told["jobs"], told["files"], told["bytes"], told["freed_bytes"]) == (False, 2, 2, 16, None)
    assert [(one["job"], round(one["age_days"]), one["bytes"]) for one in told["items"]] == [(oldest, 90, 4), (older, 31, 12)]
    assert (told["items"][0]["name"], told["items"][0]["owner"], told["items"][0]["kind"]) == ("first", "ada", "calibrate")
    assert ada.get(f"/v1/jobs/{oldest}/artifacts/calibration.json").content == b"nine"


def test_removed_results_are_gone_from_lists_and_storage_and_their_jobs_stay(
    api: Running, admin: httpx2.Client, ada: httpx2.Client, done: Any
) -> None:
    job_id, young = done(31, b"old bytes"), done(1, b"young bytes")
    before = ada.get(f"/v1/jobs/{job_id}").json()
    calibration = before["result"]["calibration"]["id"]
    removed = admin.post("/v1/retention", json={"older_than_days": DAYS}).json()
    assert (removed["removed"], removed["jobs"], removed["bytes"], removed["freed_bytes"]) == (True, 1, 9, 9)
    job = ada.get(f"/v1/jobs/{job_id}").json()
    assert job["results_removed_at"] is not None
    assert job == before | {"artifacts": [], "results_removed_at": job["results_removed_at"]}
    assert len(ada.get(f"/v1/jobs/{job_id}/events").json()["items"]) == 3
    gone = ada.get(f"/v1/jobs/{job_id}/artifacts/calibration.json")
    assert (gone.status_code, gone.json()["code"]) == (404, "results_removed")
    assert ada.get(f"/v1/calibrations/{calibration}").status_code == 404
    sizes = {found.size for found in api.context.storage.list()}
    assert (9 in sizes, 11 in sizes) == (False, True)
    assert ada.get(f"/v1/jobs/{young}/artifacts/calibration.json").content == b"young bytes"
    assert admin.post("/v1/retention", json={"older_than_days": DAYS}).json()["jobs"] == 0
    entry = next(one for one in admin.get("/v1/audit").json()["items"] if one["action"] == "retention.remove")
    assert entry["details"] == {"jobs": 1, "bytes": 9, "older_than_days": DAYS}


def test_bytes_that_a_younger_job_refers_to_stay(api: Running, admin: httpx2.Client, ada: httpx2.Client, done: Any) -> None:
    done(31, b"the same")
    young = done(1, b"the same")
    assert admin.post("/v1/retention", json={"older_than_days": DAYS}).json()["freed_bytes"] == 0
    assert ada.get(f"/v1/jobs/{young}/artifacts/calibration.json").content == b"the same"


def test_kept_jobs_keep_what_they_were_made_of(
    admin: httpx2.Client, ada: httpx2.Client, done: Any, sessions: sessionmaker[Session]
) -> None:
    """All the way down: a study's report, its steerings, their extractions."""
    first = done(100, b"1")
    second = done(90, b"2", after=[{"job": first}])
    third = done(80, b"3", after=[{"job": second}])
    other = done(70, b"4")
    assert old(admin) == [first, second, third, other]
    assert ada.patch(f"/v1/jobs/{second}", json={"keep": True}).status_code == 200
    assert old(admin) == [third, other]
    ada.patch(f"/v1/jobs/{third}", json={"keep": True})
    assert old(admin) == [other]


def test_a_job_kept_between_finding_and_locking_keeps_its_results(
    ada: httpx2.Client, done: Any, sessions: sessionmaker[Session]
) -> None:
    """Finding old results takes a while in a large database; the user was told by then that the job is kept."""
    kept, other = done(50, b"1"), done(40, b"2")
    told = []

    def keep(state: ORMExecuteState) -> None:
        if "FOR UPDATE" in str(state.statement) and not told:
            told.append(ada.patch(f"/v1/jobs/{kept}", json={"keep": True}).status_code)

    with sessions.begin() as session:
        event.listen(session, "do_orm_execute", keep)
        found, _ = repository.old_results(session, DAYS, lock=True)
    assert (told, [one.id for one in found]) == ([200], [other])


def test_vectors_that_a_submission_under_way_reads_stay(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    trait = ada.get("/v1/traits").json()["items"][0]["version"]
    extraction, job = store_extraction(sessions, api.context.storage, "ada", trait)
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET finished_at = now() - interval '90 days'"))
        [vector, *_] = session.scalars(select(Vector.id).where(Vector.extraction_id == extraction)).all()
    with sessions.begin() as submission, sessions() as session:
        hold(submission, Reads(vectors={vector}))
        assert repository.old_results(session, DAYS, lock=True)[0] == []
    with sessions() as session:
        assert [one.id for one in repository.old_results(session, DAYS, lock=True)[0]] == [job]


def test_results_that_an_unfinished_job_needs_stay(
    ada: httpx2.Client, admin: httpx2.Client, done: Any, sessions: sessionmaker[Session]
) -> None:
    """It may come after it, name it in its spec, or name the bytes."""
    after, named, digest = done(50, b"1"), done(49, b"2"), done(48, b"3")
    free = done(47, b"4")
    sha = ada.get(f"/v1/jobs/{digest}").json()["artifacts"][0]["sha256"]
    waiting = submit(ada, after=[{"job": after}])["id"]
    with sessions.begin() as session:
        change = {"id": waiting, "spec": f'{{"extraction": "{named}", "vectors": [{{"digest": "{sha}"}}]}}'}
        session.execute(text("UPDATE jobs SET spec = spec || CAST(:spec AS jsonb) WHERE id = :id"), change)
    assert old(admin) == [free]
    ada.post(f"/v1/jobs/{waiting}/cancel")
    assert old(admin) == [after, named, digest, free]


def test_a_removed_result_is_not_reused(api: Running, ada: httpx2.Client, admin: httpx2.Client, done: Any) -> None:
    job_id = done(31)
    ask = {"model": "demo"}
    assert ada.post("/v1/calibrations?reuse=true", json=ask).json()["id"] == job_id
    admin.post("/v1/retention", json={"older_than_days": DAYS})
    assert ada.post("/v1/calibrations?reuse=true", json=ask).json()["id"] != job_id


def test_jobs_without_files_are_left_alone(ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    submit(ada)
    fail(sessions, claim(sessions))
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET finished_at = now() - interval '99 days'"))
    assert old(admin) == []


def test_only_administrators_remove_results_and_zero_days_are_refused(ada: httpx2.Client, admin: httpx2.Client) -> None:
    assert ada.get("/v1/retention", params={"older_than_days": 1}).status_code == 403
    assert ada.post("/v1/retention", json={"older_than_days": 1}).status_code == 403
    assert admin.post("/v1/retention", json={"older_than_days": 0}).status_code == 422
    assert admin.get("/v1/retention").status_code == 422


def test_removal_by_the_setting_is_recorded_as_the_services_own_act(
    admin: httpx2.Client, done: Any, sessions: sessionmaker[Session]
) -> None:
    done(31)
    assert service.remove(sessions, DAYS, service.ITSELF).jobs == 1
    entry = next(one for one in admin.get("/v1/audit").json()["items"] if one["action"] == "retention.remove")
    assert entry["actor"] == "binnacle"


def test_many_results_go_in_batches_and_an_object_of_two_of_them_counts_once(
    admin: httpx2.Client, done: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH", 2)
    jobs = [
        done(days, data) for days, data in ((90, b"nine"), (80, b"shared"), (70, b"shared"), (60, b"other"), (50, b"last one"))
    ]
    told = admin.post("/v1/retention", json={"older_than_days": DAYS}).json()
    assert (told["jobs"], told["files"], told["bytes"]) == (5, 5, len(b"nine" + b"shared" + b"other" + b"last one"))
    assert [one["job"] for one in told["items"]] == jobs
    assert old(admin) == []
    assert [one["action"] for one in admin.get("/v1/audit").json()["items"]].count("retention.remove") == 3


def test_a_batch_takes_as_many_statements_as_one_result(done: Any, sessions: sessionmaker[Session]) -> None:
    """It read the vectors of all its jobs once for each of them: 23 s for 200 jobs of a large database."""
    each = []
    for number in (1, 4):
        for _ in range(number):
            done(90)
        with sessions.begin() as session, statements() as asked:
            told, _, _ = service.Removal(DAYS, service.ITSELF).batch(session)
        assert told.jobs == number
        each.append(sum("extractions" in one for one in asked))
    assert each == [3, 3]
