"""Old events, audit entries and jobs are removed in batches if an age is set; kept jobs and jobs in use stay."""

import pytest
from sqlalchemy import func, select, text

from app.audit.models import AuditEntry
from app.jobs import endings
from app.jobs.models import Job, JobEvent
from app.jobs.schemas import Edge
from app.jobs.submission import WARNED
from app.jobs.transitions import note
from app.retention import history
from app.settings import RetentionSettings
from tests.db.conftest import Desk


def _finished(desk: Desk, owner: str = "ann", *, days: float, **facts: object) -> str:
    job_id = desk.submit(owner, warnings=["few prompts"], **facts)
    lease = desk.claim()
    assert lease is not None
    desk.do(endings.succeed, job_id, lease.token, {}, [], metrics={})
    with desk.sessions.begin() as session:
        session.execute(
            text("UPDATE jobs SET finished_at = now() - make_interval(secs => :s) WHERE id = :id"),
            {"s": days * 86_400, "id": job_id},
        )
    return job_id


def _events(desk: Desk, job_id: str) -> list[str]:
    with desk.sessions() as session:
        return list(session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)))


def _audit(desk: Desk, days: float) -> None:
    with desk.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO audit (id, at, actor, action, object) "
                "VALUES (:id, now() - make_interval(secs => :s), 'ann', 'key.revoke', 'k')"
            ),
            {"id": f"aud_{days}", "s": days * 86_400},
        )


def test_nothing_is_removed_unless_an_age_is_set(desk: Desk) -> None:
    job = _finished(desk, days=4_000)
    _audit(desk, 4_000)
    assert history.forget(desk.sessions, RetentionSettings()) == {"events": 0, "audit": 0, "jobs": 0}
    assert _events(desk, job) == ["submitted", WARNED, "started", "succeeded"]


def test_events_of_old_jobs_are_removed_but_for_their_warnings(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EVENTS_OF", 2)  # several batches
    old, young, waiting = [_finished(desk, days=40 + n) for n in range(5)], _finished(desk, days=20), desk.submit()
    assert (
        history.forget(desk.sessions, RetentionSettings(events_days=30))["events"] == 15
    )  # three of each old job, not the warning
    assert [_events(desk, one) for one in old] == [[WARNED]] * 5
    assert len(_events(desk, young)) == 4
    assert _events(desk, waiting) == ["submitted"]
    desk.do(note, old[0], "edited", {})
    assert _events(desk, old[0]) == [WARNED, "edited"], "numbers go on where they were"


def _recorded(desk: Desk) -> list[dict[str, object]]:
    """The details of the entries about removals."""
    with desk.sessions() as session:
        return list(session.scalars(select(AuditEntry.details).where(AuditEntry.action == "retention.forget")))


def test_old_entries_of_the_audit_are_removed_and_each_batch_is_recorded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ENTRIES", 2)
    for days in (500, 450, 420, 410, 405, 10):
        _audit(desk, days)
    assert history.forget(desk.sessions, RetentionSettings(audit_days=400))["audit"] == 5
    with desk.sessions() as session:
        assert list(session.scalars(select(AuditEntry.action).where(AuditEntry.action != "retention.forget"))) == ["key.revoke"]
    assert sorted(_recorded(desk), key=str) == [{"audited": 1}, {"audited": 2}, {"audited": 2}]


@pytest.mark.parametrize("what", ["events", "jobs"])
def test_what_was_removed_before_an_error_is_recorded(desk: Desk, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is stopped, or loses the database, between two batches: the first is committed."""
    monkeypatch.setattr(history, {"events": "EVENTS_OF", "jobs": "JOBS"}[what], 2)
    for n in range(4):
        _finished(desk, days=40 + n)
    ended, batches = history.repository.ended, iter([True])

    def fails_at_the_second(*given: object, **more: object) -> object:
        if next(batches, False):
            return ended(*given, **more)  # type: ignore[arg-type]
        raise ConnectionError("the database is gone")

    monkeypatch.setattr(history.repository, "ended", fails_at_the_second)
    with pytest.raises(ConnectionError):
        history.forget(desk.sessions, RetentionSettings(**{f"{what}_days": 30}))
    assert _recorded(desk) == [{what: 6 if what == "events" else 2}]  # two jobs with three events each


def test_an_entry_that_was_repeated_lately_stays(desk: Desk) -> None:
    _audit(desk, 500)
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE audit SET last_at = now()"))
    assert history.forget(desk.sessions, RetentionSettings(audit_days=400))["audit"] == 0


def test_old_jobs_are_removed_but_for_those_that_are_kept_or_in_use(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "JOBS", 2)
    gone = [_finished(desk, f"user{n % 2}", days=100 + n) for n in range(5)]
    kept, young, used = _finished(desk, days=100), _finished(desk, days=5), _finished(desk, days=100)
    with desk.sessions.begin() as session:
        session.execute(text("UPDATE jobs SET kept = true WHERE id = :id"), {"id": kept})
    waiting = desk.submit(after=[Edge(job=used, needs="end")], spec={"extraction": {"job": used}})
    assert history.forget(desk.sessions, RetentionSettings(jobs_days=90))["jobs"] == 5
    with desk.sessions() as session:
        assert set(session.scalars(select(Job.id))) == {kept, young, used, waiting}
        left = session.scalar(select(func.count()).select_from(JobEvent).where(JobEvent.job_id.in_(gone)))
    assert left == 0
