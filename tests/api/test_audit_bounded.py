"""Rows of the audit cannot be deleted, so requests that a user repeats are counted in a bounded number of rows."""

import httpx2
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

from app.audit.models import AuditEntry
from app.jobs.models import JobEvent
from app.studies.models import Study
from tests.api.conftest import Running, submit
from tests.api.lives import claim
from tests.api.test_audit import entries


def _rows(sessions: sessionmaker[Session]) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(AuditEntry)) or 0


def test_repeated_denials_are_counted_in_one_row_whatever_the_path_names(
    api: Running, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    with api.client("eve", "viewer") as eve:
        for i in range(40):
            assert eve.put(f"/v1/quotas/user{i}", json={}).status_code == 403
            assert eve.get("/v1/audit", params={"limit": i + 1}).status_code == 403
    assert _rows(sessions) == 2, "one for each route"
    found = {one["object"]: one for one in entries(admin, outcome="denied")}
    quota = found["PUT /v1/quotas/{user}"]
    assert (quota["count"], quota["actor"], quota["details"]) == (40, "eve", {"example": "/v1/quotas/user0"})
    assert quota["at"] < quota["last_at"]
    assert found["GET /v1/audit"]["count"] == 40


def test_another_key_and_another_day_are_other_rows(api: Running, admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    with api.client("eve", "viewer") as eve, api.client("eve", "viewer") as again:
        eve.get("/v1/audit")
        again.get("/v1/audit")
        assert _rows(sessions) == 2
        with sessions.begin() as session:
            session.execute(text("UPDATE audit SET at = at - interval '1 day', slot = '2000-01-01' || substr(slot, 11)"))
        eve.get("/v1/audit")
    assert sorted(one["count"] for one in entries(admin, outcome="denied")) == [1, 1, 1]


def test_sharing_back_and_forth_adds_two_rows(ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    path = submit(ada)["links"]["self"]
    for visibility in ["public", "private"] * 10:
        assert ada.patch(path, json={"visibility": visibility}).status_code == 200
    assert _rows(sessions) == 2
    assert [(one["count"], one["details"]["after"]["visibility"]) for one in entries(admin)] == [(10, "private"), (10, "public")]


def test_each_act_of_an_administrator_is_a_row(admin: httpx2.Client) -> None:
    for _ in range(3):
        admin.put("/v1/quotas", json={"max_queued": 5})
    assert len(entries(admin, action="quota.set")) == 3


def test_repeated_cancels_of_a_study_add_one_event(ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    node = submit(ada)["id"]
    claim(sessions)
    report = submit(ada, after=[{"job": node, "needs": "end"}])["id"]
    nodes = {"calibrate/demo": {"place": 0, "job": node, "kind": "calibrate", "model": "demo", "trait": None, "reused": False}}
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET kind = 'report', job_class = 'light' WHERE id = :id"), {"id": report})
        session.add(Study(id="std_" + "0" * 26, job_id=report, owner="ada", spec={}, nodes=nodes))
    for _ in range(5):
        assert ada.post(f"/v1/jobs/{report}/cancel").status_code == 202
    with sessions() as session:
        told = session.scalars(select(JobEvent.type).where(JobEvent.job_id == report)).all()
    assert sorted(told) == ["graph_cancelled", "submitted"]
