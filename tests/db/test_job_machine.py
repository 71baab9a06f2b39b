"""Jobs in any order of events are as a model says: one end, one result, tokens that only grow, blockers never negative.

Real statements on a real Postgres, a real broker behind the bell, the real reconciler. Hypothesis chooses the order.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from app.bell import Bell
from app.errors import Problem
from app.jobs import claims, endings, service
from app.jobs.claims import Claimer, Lease
from app.jobs.schemas import Edge
from app.jobs.service import Idempotency
from app.jobs.submission import Asker
from app.jobs.transitions import Superseded
from app.settings import LeaseSettings, Settings
from app.storage.blobs import stage
from app.storage.local import LocalStorage
from tests.db.conftest import ADMIN, Desk
from tests.db.job_model import FINISHED, HELD, JobModel
from tests.db.test_lanes import VERSIONS
from workers.reconciler import Reconciler

WORKERS = ("w0", "w1", "w2")
USED = {"device_seconds": 1.0}
TTL = 2.0
EMPTY = [
    text(f"DELETE FROM {name}") for name in ("idempotency_keys", "job_edges", "job_cells", "artifacts", "jobs", "owner_turns")
]
ROWS = text("""
SELECT j.id, j.state, j.attempt, j.losses, j.lease_token, j.blockers, j.worker_id IS NOT NULL AS held, j.event_seq, e.events, e.last,
    e.ends, (SELECT count(*) FROM artifacts a WHERE a.job_id = j.id) AS files
FROM jobs j JOIN (
    SELECT job_id, count(*) AS events, max(seq) AS last, count(*) FILTER (WHERE type IN ('succeeded', 'failed', 'cancelled')) AS ends
    FROM job_events GROUP BY job_id
) e ON e.job_id = j.id""")
OVER = text("SELECT id, to_jsonb(j) - 'event_seq' AS row FROM jobs j WHERE state IN ('succeeded', 'failed', 'cancelled')")


class Jobs(RuleBasedStateMachine):
    """`desk`, `reconciler`, `blob` and `pending` (bells that wait) are set by the test, once for all runs."""

    desk: Desk
    reconciler: Reconciler
    blob: Any
    pending: Callable[[], int]
    flush_broker: Callable[[], None]

    jobs = Bundle("jobs")
    leases = Bundle("leases")

    @initialize(target=jobs)
    def begin(self) -> Any:
        """Submits a small graph. Hypothesis leaves out some rules in each run; without `submit`, the others would find no job."""
        self.model = JobModel()
        self.over: dict[str, Any] = {}
        self.tokens: dict[str, int] = {}
        self.keys: dict[str, str] = {}
        self.holders: dict[str, str] = {}
        with self.desk.sessions.begin() as session:
            for statement in EMPTY:
                session.execute(statement)
        first = [self.submit("ann", False, [], "success", None), self.submit("bob", False, [], "success", None)]
        return multiple(*first, *(self.submit("ann", False, first, needs, None) for needs in ("success", "end")))

    @rule(
        target=jobs,
        owner=st.sampled_from(["ann", "bob"]),
        short=st.sampled_from([False, False, True]),
        after=st.lists(jobs, max_size=2, unique=True),
        needs=st.sampled_from(["success", "end"]),
        key=st.sampled_from([None, None, "k1", "k2"]),
    )
    def submit(self, owner: str, short: bool, after: list[str], needs: str, key: str | None) -> Any:
        edges = dict.fromkeys(after, needs)
        request = service.Submission(
            kind="glance" if short else "probe", spec={}, owner=owner, job_class="model", viewer=ADMIN,
            after=[Edge(job=job, needs=how) for job, how in edges.items()],
            idempotency=None if key is None else Idempotency("POST /v1/probes", key, "0" * 64),
        )  # fmt: skip
        known, possible = self.keys.get(f"{owner} {key}"), self.model.admits(edges)
        made, refusal = self._asked(service.submit, request)
        assert refusal == (None if known is not None or possible else "dependency_failed")
        if made is None:
            return multiple()
        if known is not None:
            assert (made.job.id, made.replayed) == (known, True), "an equal key is the same submission"
            return multiple()
        self.model.submitted(made.job.id, edges, short=short)
        if key is not None:
            self.keys[f"{owner} {key}"] = made.job.id
        return made.job.id

    @rule(target=leases, worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> Any:
        lease = self.desk.do(claims.claim, Claimer(worker, "model", 1, VERSIONS), ttl=60, slice_seconds=300)
        ready = self.model.ready()
        if lease is None:
            assert not ready
            return multiple()
        assert lease.job.id in ready
        self.model.claimed(lease.job.id)
        self.holders[lease.job.id] = worker
        assert lease.token == self.model.jobs[lease.job.id].token
        return lease

    @rule(lease=leases, what=st.sampled_from(["beat", "cell 1", "cell 2", "succeed", "fail", "stop", "yield", "put off"]))
    def use(self, lease: Lease, what: str) -> None:
        """A worker acts under a lease that it has, or had. `put off`: it cannot work now, as something outside is down."""
        name, end, do = lease.job.id, self.model.ended, self._fenced
        job = self.model.jobs[name]
        if what == "beat":
            do(lease, HELD, claims.renew, 60)
        elif what.startswith("cell"):
            kept = do(lease, HELD, endings.keep_cells, {what: self.blob})
            if kept and what not in job.cells:  # one that was there before is no news
                job.losses = 0
                job.cells.add(what)
        elif what == "succeed" and do(lease, HELD, endings.succeed, {}, [("out", "text/plain", self.blob)], metrics=USED):
            end(name, "succeeded")
        elif what == "fail" and do(lease, HELD, endings.fail, {"code": "broken", "detail": "It broke."}, metrics=USED):
            end(name, "failed")
        elif what == "stop" and do(lease, HELD, endings.cancelled):
            end(name, "cancelled")
        elif what in ("yield", "put off"):
            delay = 3600 if what == "put off" else 0
            if do(lease, ("running",), endings.requeue, "yielded", {}, delay=delay):
                job.state, job.put_off = "queued", delay > 0

    @rule(target=jobs, job=jobs, what=st.sampled_from(["expire", "cancel", "retry"]))
    def befall(self, job: str, what: str) -> Any:
        """A job's worker falls silent, or a user cancels or retries the job."""
        if what == "retry":
            return self._retry(job)
        if what == "expire":
            self._expire(job)
        else:
            self._cancel(job)
        return multiple()

    def _retry(self, job: str) -> Any:
        old = self.model.jobs[job]
        needs = self.model.renewed(old.needs)
        made, refusal = self._asked(service.retry, Asker(ADMIN, Settings()), job)
        if old.state not in ("failed", "cancelled"):
            assert refusal == "job_not_retryable"
        else:
            assert refusal == (None if self.model.admits(needs) else "dependency_failed")
        if made is None:
            return multiple()
        self.model.submitted(made.job.id, needs, short=old.short, retry_of=job)
        return made.job.id

    def _expire(self, job: str) -> None:
        silent = "UPDATE jobs SET lease_expires_at = now() - interval '0.01 s' WHERE id = :id AND worker_id IS NOT NULL"
        with self.desk.sessions.begin() as session:
            session.execute(text(silent), {"id": job})
        held = self.model.jobs[job].state in HELD
        assert self.reconciler.sweep() == int(held)
        if held:
            self.model.lost(job)

    def _cancel(self, job: str) -> None:
        over = self.model.jobs[job].state in ("succeeded", "failed")
        _, refusal = self._asked(service.cancel, job, ADMIN)
        assert refusal == ("job_finished" if over else None)
        if not over:
            self.model.cancelled(job)

    @precondition(lambda self: any(job.put_off for job in self.model.jobs.values()))
    @rule()
    def hours_pass(self) -> None:
        with self.desk.sessions.begin() as session:
            session.execute(
                text("UPDATE jobs SET not_before = now() - interval '1 s' WHERE not_before IS NOT NULL AND state = 'queued'")
            )
        for job in self.model.jobs.values():
            job.put_off = False

    @precondition(lambda self: self.model.ready() and self.holders)
    @rule()
    def flush(self) -> None:
        """The broker forgets everything; the next sweep rings again, once for each idle worker, as something is ready."""
        type(self).flush_broker()
        assert self.reconciler.sweep() == 0
        busy = {worker for name, worker in self.holders.items() if self.model.jobs[name].state in HELD}
        assert type(self).pending() == len(WORKERS) - len(busy)

    def _asked(self, work: Callable[..., Any], *args: Any) -> tuple[Any, str | None]:
        """What the service made of a request, or the code of its refusal."""
        try:
            return self.desk.do(work, *args), None
        except Problem as refused:
            return None, refused.code

    def _fenced(self, lease: Lease, states: tuple[str, ...], work: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Whether `work` was done: exactly when the lease is the one that counts and its job in one of the states."""
        job = self.model.jobs[lease.job.id]
        expected = job.holds(lease.token) and job.state in states
        try:
            self.desk.do(work, lease.job.id, lease.token, *args, **kwargs)
        except Superseded:
            assert not expected, f"{work.__name__} was refused to the holder of {lease.job.id}"
        else:
            assert expected, f"{work.__name__} was done under a lease that is over"
        return expected

    @invariant()
    def the_rows_are_as_the_model_says(self) -> None:
        """Also: a finished job never changes, ended once, and has a result only if it succeeded."""
        with self.desk.sessions() as session:
            rows = {row.id: row for row in session.execute(ROWS)}
            over = {row.id: row.row for row in session.execute(OVER)}
        assert set(rows) == set(self.model.jobs)
        for name, job in self.model.jobs.items():
            row = rows[name]
            found = (row.state, row.attempt, row.losses, row.lease_token, row.blockers, row.held)
            assert found == (job.state, job.attempt, job.losses, job.token, job.blockers, job.state in HELD), name
            assert row.blockers >= 0
            assert row.lease_token >= self.tokens.get(name, 0), "lease tokens only grow"
            assert row.events == row.last == row.event_seq, "events are numbered without gaps"
            assert row.ends == int(job.state in FINISHED), "a job ends once"
            assert row.files == int(job.state == "succeeded"), "a result is committed once, and only by a success"
            self.tokens[name] = row.lease_token
        assert {name: over.get(name) for name in self.over} == self.over
        self.over = over


@pytest.fixture
def machine(
    desk: Desk,
    broker_url: str,
    broker_prefix: str,
    make_client: Callable[[str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> type[Jobs]:
    """The machine with its database, up for longer than a lease, its broker, and a reconciler that may always expire leases: by its own clock
    it would wait for TTL again after any sweep that the test's process was held up in.
    """
    monkeypatch.setattr(Reconciler, "_may_expire", lambda _self, _session: True)
    desk.wait_until_up_for(TTL + 1)
    desk.sessions.kw["bind"].dispose()
    client = make_client(broker_url)
    reconciler = Reconciler(
        desk.sessions,
        Bell(Settings(broker_url=broker_url, broker_prefix=broker_prefix)),
        LeaseSettings(ttl=TTL, margin=0.5, max_losses=3),
    )
    with desk.sessions.begin() as session:
        for name in WORKERS:
            session.execute(
                text(
                    "INSERT INTO workers (id, job_class, device, host, parent_pid, version) VALUES (:n, 'model', 'cpu', 'h', 1, '0')"
                ),
                {"n": name},
            )
        session.execute(text("UPDATE workers SET seen_at = now() + interval '1 day'"))
    keys = [f"{broker_prefix}{name}" for name in ("model", "light")]
    facts = {
        "desk": desk,
        "reconciler": reconciler,
        "blob": stage(desk.sessions, LocalStorage(tmp_path / "objects"), b"a result"),
        "pending": staticmethod(lambda: client.llen(keys[0])),
        "flush_broker": staticmethod(lambda: client.delete(*keys)),
    }
    return type("OfThisTest", (Jobs,), facts)


def _run(machine: type[Jobs], **how: Any) -> None:
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(machine, settings=settings(deadline=None, database=None, suppress_health_check=quiet, **how))


@pytest.mark.timeout(1200)
def test_jobs_follow_the_model_in_any_order_of_events(machine: type[Jobs]) -> None:
    """The same orders in every run, so that a failure comes from a change; the long run draws new ones."""
    _run(machine, max_examples=12, stateful_step_count=30, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(1700)
def test_jobs_follow_the_model_in_very_many_orders(machine: type[Jobs]) -> None:
    _run(machine, max_examples=300, stateful_step_count=60)
