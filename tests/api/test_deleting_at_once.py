"""Deletions that meet submissions, retention, downloads or other deletions: no row ever refers to a deleted object."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from app.auth.viewer import Viewer
from app.db import make_engine, make_sessions
from app.deletion import service
from app.errors import Problem
from app.jobs import service as jobs
from app.jobs.submission import Submission
from app.retention import service as retention
from app.storage.blobs import collect
from tests.api.conftest import Running, submit
from tests.api.finishing import finish_everything
from tests.api.lives import claim, succeed
from tests.api.lock_waits import until_one_waits
from tests.api.test_deleting_jobs import STUDY, refused
from tests.api.test_deleting_vectors_and_traits import upload
from tests.api.test_vector_import import made, send

Sessions = sessionmaker[Session]
ADA = Viewer("ada", "member")


@pytest.fixture
def things(api: Running, ada: httpx2.Client, sessions: Sessions) -> dict[str, tuple[str, dict[str, Any]]]:
    """By kind, an object that may be deleted: its address, and a spec that names it."""
    job = submit(ada)["id"]
    succeed(sessions, api.context.storage, claim(sessions))
    [vector] = send(ada, made("gguf", 1)).json()["items"]
    trait = upload(ada)
    return {
        "job": (f"/v1/jobs/{job}", {"calibration": {"job": job}}),
        "vector": (f"/v1/vectors/{vector['id']}", {"vectors": [{"id": vector["id"]}]}),
        "trait": (f"/v1/traits/{trait['id']}", {"trait": {"name": "politeness", "version": trait["version"]}}),
        "model": ("/v1/models/demo", {}),
    }


def wanting(spec: dict[str, Any]) -> Submission:
    return Submission(kind="extract", spec=spec, owner="ada", job_class="model", model="demo")


@pytest.mark.parametrize("what", ["job", "vector", "trait", "model"])
def test_a_submission_that_is_not_committed_yet_holds_what_it_names(
    admin: httpx2.Client, sessions: Sessions, things: dict[str, Any], what: str
) -> None:
    path, spec = things[what]
    with ThreadPoolExecutor() as pool:
        with sessions.begin() as session:
            made_now = jobs.submit(session, wanting(spec)).job.id
            deleting = pool.submit(admin.delete, path)
            until_one_waits(sessions)
            assert not deleting.done()
        body = refused(deleting.result(), "model_in_use" if what == "model" else "in_use")
    assert body["facts"]["used_by"] == [made_now]


@pytest.mark.parametrize("what", ["job", "vector", "trait", "model"])
def test_a_submission_waits_for_a_deletion_and_finds_its_reference_gone(
    admin: httpx2.Client, sessions: Sessions, things: dict[str, Any], what: str
) -> None:
    """The submission looked its reference up before the deletion; afterwards it is refused."""
    path, spec = things[what]
    with sessions.begin() as session:
        waiting = threading.Thread(target=lambda: outcome.append(_submit(sessions, spec)))
        outcome: list[str] = []
        delete = {"job": service.delete_job, "vector": service.delete_vector, "trait": service.delete_trait}.get(what)
        if delete is None:
            from app.models.service import delete as remove

            remove(session, "demo", Viewer("root", "admin"))
        else:
            delete(session, path.rsplit("/", 1)[1], ADA)
        waiting.start()
        until_one_waits(sessions)
        assert outcome == []
    waiting.join(120)
    assert outcome == ["reference_deleted"]


def _submit(sessions: Sessions, spec: dict[str, Any]) -> str:
    try:
        with sessions.begin() as session:
            return str(jobs.submit(session, wanting(spec)).job.id)
    except Problem as problem:
        return problem.code


def test_retention_and_a_submission_exclude_each_other_too(
    api: Running, ada: httpx2.Client, sessions: Sessions, things: dict[str, Any]
) -> None:
    job = things["job"][0].rsplit("/", 1)[1]
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET finished_at = now() - interval '99 days'"))
    with sessions.begin() as session:
        held = jobs.submit(session, wanting(things["job"][1])).job.id
        assert retention.remove(sessions, 30, retention.ITSELF).jobs == 0
    assert ada.get(f"/v1/jobs/{job}").json()["results_removed_at"] is None
    ada.post(f"/v1/jobs/{held}/cancel")
    assert retention.remove(sessions, 30, retention.ITSELF).jobs == 1
    assert _submit(sessions, things["job"][1]) == "reference_deleted"


def test_ten_deletions_at_once_delete_once(api: Running, ada: httpx2.Client, sessions: Sessions) -> None:
    study = ada.post("/v1/studies", json=STUDY).json()["id"]
    finish_everything(sessions, api.context.storage)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: ada.delete(f"/v1/jobs/{study}").status_code, range(10)))
    assert sorted(answers) == [200, *[404] * 9]
    assert ada.get("/v1/jobs").json()["items"] == []


def test_a_running_download_is_complete_though_its_job_is_deleted(api: Running, ada: httpx2.Client, sessions: Sessions) -> None:
    """Also when the collector takes the object away in the middle."""
    data = b"0123456789abcdef" * (1 << 20)
    job = submit(ada)["id"]
    succeed(sessions, api.context.storage, claim(sessions), data=data)
    with sessions.begin() as session:
        session.execute(text("UPDATE blobs SET touched_at = now() - interval '2 days'"))
    with ada.stream("GET", f"/v1/jobs/{job}/artifacts/calibration.json") as response:
        parts = response.iter_raw()
        got = [next(parts)]
        assert ada.delete(f"/v1/jobs/{job}").status_code == 200
        assert collect(sessions, api.context.storage).bytes >= len(data)
        got += parts
    assert b"".join(got) == data


def test_a_deletion_that_is_cut_off_after_any_statement_has_deleted_nothing(
    api: Running, ada: httpx2.Client, sessions: Sessions
) -> None:
    """The database ends its connection after the first, the second, ... statement, until one deletion gets through."""
    study = ada.post("/v1/studies", json=STUDY).json()["id"]
    finish_everything(sessions, api.context.storage)
    before = _counts(sessions)
    engine = make_engine(api.settings.database_url.get_secret_value(), pool_size=1)
    cut, left = 0, 0

    @event.listens_for(engine, "after_cursor_execute")
    def _cut(connection: Any, *_rest: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            pid = connection.connection.dbapi_connection.info.backend_pid
            with sessions.begin() as session:
                session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    while True:
        left = cut + 1
        try:
            with make_sessions(engine).begin() as session:
                service.delete_job(session, study, ADA)
        except DBAPIError:
            assert _counts(sessions) == before, f"after statement {cut + 1}"
            cut += 1
        else:
            break
    engine.dispose()
    assert cut > 10
    assert {name: count for name, count in _counts(sessions).items() if count} == {"audit": 1}


def _counts(sessions: Sessions) -> dict[str, int]:
    """Rows of every table that names a job."""
    names = (
        "jobs",
        "job_events",
        "job_edges",
        "artifacts",
        "calibrations",
        "extractions",
        "vectors",
        "steerings",
        "studies",
        "audit",
    )
    with sessions() as session:
        return {name: session.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in names}
