"""Submitting a job: the answer, the stored spec, reuse, and that one idempotency key makes one job."""

import asyncio
import json
import time
from typing import Any

import httpx2
import psycopg
import pytest
from sqlalchemy import func, make_url, select, text
from sqlalchemy.orm import Session, sessionmaker

from app.embedded.broker import connect
from app.errors import Problem
from app.extractions.cosines import cosines_of
from app.extractions.models import Vector
from app.jobs.models import IdempotencyKey, Job
from app.jobs.schemas import Edge
from app.jobs.submitting import with_edge
from tests.api.conftest import FACTS, Running, submit
from tests.api.lives import claim, succeed

pytestmark = pytest.mark.usefixtures("specs_as_written")


def count(sessions: sessionmaker[Session], table: Any = Job) -> int:
    """The number of rows of the table."""
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_submission_answers_202_with_the_job_and_where_to_look(ada: httpx2.Client) -> None:
    response = ada.post("/v1/calibrations", json={"model": "demo", "name": "first", "tags": ["pilot"], "layers": [3, 1]})
    job = response.json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert int(response.headers["Retry-After"]) > 0
    assert (job["state"], job["queue_position"], job["owner"], job["name"], job["tags"]) == (
        "queued",
        1,
        "ada",
        "first",
        ["pilot"],
    )
    assert ada.get(response.headers["Location"]).json() == job


def test_the_spec_holds_what_the_result_depends_on_and_nothing_else(ada: httpx2.Client) -> None:
    """Equal specs mean the same calculation: names, tags and the order of layers must not tell two of them apart."""
    one = submit(ada, name="one", tags=["a"], notes="n", priority=3, layers=[2, 1])["spec"]
    two = submit(ada, layers=[1, 2])["spec"]
    assert one == two
    assert one == {
        "kind": "calibrate",
        "model": "demo",
        "experiment": "calibration",
        "prompts": None,
        "layers": [1, 2],
        "max_new_tokens": 128,
        "rule": "peeling",
        "schema_version": 2,
        "weight_hash": FACTS["weight_hash"],
        "reading_hash": FACTS["reading_hash"],
        "special_tokens": "markup",
    }
    assert submit(ada, layers=list(range(8)))["spec"]["layers"] is None


def test_twenty_concurrent_equal_submissions_make_one_job(api: Running, sessions: sessionmaker[Session]) -> None:
    headers = {"Authorization": f"Bearer {api.key('ada')}", "Idempotency-Key": "once"}

    async def race() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=api.url, headers=headers, timeout=120) as client:
            return await asyncio.gather(*(client.post("/v1/calibrations", json={"model": "demo"}) for _ in range(20)))

    answers = asyncio.run(race())
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["Location"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert (count(sessions), count(sessions, IdempotencyKey)) == (1, 1)


def test_an_idempotency_key_is_valid_for_one_body_of_one_owner(api: Running, ada: httpx2.Client) -> None:
    first = ada.post("/v1/calibrations", json={"model": "demo"}, headers={"Idempotency-Key": "k"})
    reordered = b'{ "tags": [], "model":"demo"}'
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    other_order = ada.post("/v1/calibrations", content=reordered, headers=headers)
    assert other_order.headers["Location"] == first.headers["Location"]
    other_body = ada.post("/v1/calibrations", json={"model": "demo", "rule": "all"}, headers={"Idempotency-Key": "k"})
    assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
    with api.client("bob") as bob:
        theirs = bob.post("/v1/calibrations", json={"model": "demo"}, headers={"Idempotency-Key": "k"})
    assert theirs.status_code == 202
    assert theirs.headers["Location"] != first.headers["Location"]


def test_refused_requests_and_dry_runs_use_up_no_key(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    headers = {"Idempotency-Key": "k"}
    assert ada.post("/v1/calibrations", json={"model": "nobody"}, headers=headers).status_code == 422
    assert ada.post("/v1/calibrations?dry_run=true", json={"model": "demo"}, headers=headers).status_code == 200
    assert (count(sessions), count(sessions, IdempotencyKey)) == (0, 0)
    assert ada.post("/v1/calibrations", json={"model": "demo", "rule": "all"}, headers=headers).status_code == 202


def test_a_replay_is_answered_even_if_the_model_is_refused_by_now(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """A client that lost the answer must learn of its job, whatever happened to the model since."""
    headers = {"Idempotency-Key": "k"}
    first = ada.post("/v1/calibrations", json={"model": "demo"}, headers=headers)
    with sessions.begin() as session:
        session.execute(text("UPDATE models SET state = 'faulty', fault = '{\"code\": \"x\"}'"))
    again = ada.post("/v1/calibrations", json={"model": "demo"}, headers=headers)
    assert (again.status_code, again.headers["Location"]) == (202, first.headers["Location"])


def test_a_key_that_another_open_transaction_holds_is_answered_409_after_two_seconds(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    earlier = submit(ada)["id"]
    url = make_url(api.settings.database_url.get_secret_value()).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False)) as twin:
        twin.execute(
            "INSERT INTO idempotency_keys (owner, route, key, body_hash, job_id) VALUES ('ada', 'POST /v1/calibrations', 'k', 'h', %s)",
            [earlier],
        )
        response = ada.post("/v1/calibrations", json={"model": "demo"}, headers={"Idempotency-Key": "k"})
        twin.rollback()
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_key_busy")
    assert count(sessions) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_an_invalid_idempotency_key_is_refused(ada: httpx2.Client, key: str) -> None:
    response = ada.post("/v1/calibrations", json={"model": "demo"}, headers={"Idempotency-Key": key})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_idempotency_key")


def test_a_dry_run_shows_the_arithmetic_and_writes_nothing(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    cost = ada.post("/v1/calibrations?dry_run=true", json={"model": "demo", "max_new_tokens": 64}).json()
    assert cost["arithmetic"] == "50 prompts x 64 new tokens = 3,200 generated tokens"
    assert (cost["generated_tokens"], cost["limit"], cost["estimated_seconds"]) == (3200, 500_000, None)
    assert count(sessions) == 0
    submit(ada)
    succeed(sessions, api.context.storage, claim(sessions))  # 2 device seconds for 50 x 128 tokens
    again = ada.post("/v1/calibrations?dry_run=true", json={"model": "demo", "max_new_tokens": 64}).json()
    assert again["estimated_seconds"] == 1.0


def test_reuse_answers_with_a_finished_job_of_the_same_calculation_that_the_caller_may_read(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    job = submit(ada)
    body = {"model": "demo", "name": "another name"}
    assert ada.post("/v1/calibrations?reuse=true", json=body).headers["Location"] != f"/v1/jobs/{job['id']}"  # not finished yet
    succeed(sessions, api.context.storage, claim(sessions))
    unknown = ada.post("/v1/calibrations?reuse=true", json={**body, "webhook": "nowhere"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_webhook")
    reused = ada.post("/v1/calibrations?reuse=true", json=body)
    assert (reused.status_code, reused.headers["Binnacle-Reused"], reused.json()["id"]) == (200, job["id"], job["id"])
    assert ada.post("/v1/calibrations?reuse=true", json={**body, "rule": "all"}).status_code == 202
    with api.client("bob") as bob:
        assert bob.post("/v1/calibrations?reuse=true", json=body).status_code == 202  # ada's results are not bob's to read


def test_a_job_waits_for_the_inspection_and_the_proofs_of_its_model(ada: httpx2.Client, admin: httpx2.Client) -> None:
    inspection = admin.post("/v1/models", json={"name": "fresh", "source": "/models/fresh"}).json()
    proof = ada.get("/v1/models/fresh").json()["prove_job"]
    job = submit(ada, model="fresh", layers=[400])
    assert (job["phase"], job["waiting_for"], job["queue_position"]) == ("waiting", [proof], None)
    assert ada.get(f"/v1/jobs/{proof}").json()["waiting_for"] == [inspection["id"]]


def test_a_job_may_come_after_own_jobs_and_not_after_other_peoples(api: Running, ada: httpx2.Client) -> None:
    first = submit(ada)
    second = submit(ada, after=[{"job": first["id"], "needs": "end"}])
    assert second["waiting_for"] == [first["id"]]
    with api.client("bob") as bob:
        refused = bob.post("/v1/calibrations", json={"model": "demo", "after": [{"job": first["id"]}]})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_job")
    assert refused.json()["errors"][0]["pointer"] == "/after/0/job"


def test_the_request_id_is_returned_and_kept_on_the_job(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    given = ada.post("/v1/calibrations", json={"model": "demo"}, headers={"X-Request-ID": "lab-42"})
    forged = ada.post("/v1/calibrations", json={"model": "demo"}, headers={"X-Request-ID": "x" * 300})
    assert given.headers["X-Request-ID"] == "lab-42"
    assert forged.headers["X-Request-ID"].startswith("req_")
    with sessions() as session:
        kept = session.scalars(select(Job.request_id).order_by(Job.created_at)).all()
    assert kept == ["lab-42", forged.headers["X-Request-ID"]]


def test_submitting_rings_the_workers_of_the_class(api: Running, ada: httpx2.Client) -> None:
    """So that a job starts at once and not after the reconciler's next sweep."""
    submit(ada)
    with connect(api.settings.broker_url.get_secret_value()) as broker:
        for _ in range(1200):
            if bells := broker.lrange(f"{api.settings.broker_prefix}model", 0, -1):
                break
            time.sleep(0.05)
    assert [json.loads(bell)["headers"]["task"] for bell in bells] == ["workers.doorbell.answer"]


def test_an_edge_to_a_job_that_is_read_needs_its_success() -> None:
    """A caller's weaker edge to it would let the job start without its input."""
    given = [Edge(job="job_" + "1" * 26, needs="end"), Edge(job="job_" + "2" * 26, needs="end")]
    found = with_edge(given, given[0].job)
    assert [(edge.job, edge.needs) for edge in found] == [(given[0].job, "success"), (given[1].job, "end")]


def test_cosines_of_controls_alone_are_refused() -> None:
    rows = [Vector(method="shuffled", layer=2, digest="0" * 64, key="x", facts={})]
    with pytest.raises(Problem, match="controls or refits"):
        asyncio.run(cosines_of(None, rows))  # type: ignore[arg-type] - nothing is read
