"""The auditor reports a healthy set of jobs as healthy, and each way of doctoring one job under the right heading."""

import copy
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.worker.probe  # noqa: F401 - registers the job kind `probe`
from app.auth.viewer import Viewer
from app.db import make_engine, make_sessions
from app.jobs import claims, endings, service
from app.jobs.claims import Claimer
from app.jobs.submission import Submission
from app.storage.blobs import stage
from app.storage.factory import open_storage
from tests.chaos.auditor import Audit, Strike, audit, connect, recoveries, setbacks

pytestmark = pytest.mark.chaos
LABEL = "audited"
SUBMITTED = {"owner": "ann", "job_class": "light", "name": LABEL}


class Books:
    """A dozen jobs that ended well, through the service's own functions but without any process, and the means to doctor them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.objects = folder / "objects"
        self._engine = make_engine(url)
        self._sessions = make_sessions(self._engine)
        self._storage = open_storage(f"file://{self.objects}")
        self.connection = connect(url)
        self.jobs = [self._job(number) for number in range(10)]
        self.poison = self._job(10, lost=3)
        self.cancelled = self._job(11, cancel=True)
        self.acknowledged = [*self.jobs, self.poison, self.cancelled]

    def audit(self) -> Audit:
        return audit(
            self.connection, LABEL, self.acknowledged, objects=self.objects, poison={self.poison}, cancelled={self.cancelled}
        )

    def doctor(self, statement: str, *values: Any) -> None:
        self.connection.execute(statement, values)

    def add_event(self, job: str, what: str, data: str = "{}") -> None:
        """One more line of a history, numbered as the service would."""
        self.doctor("UPDATE jobs SET event_seq = event_seq + 1 WHERE id = %s", job)
        self.doctor(
            "INSERT INTO job_events (job_id, seq, type, data) SELECT id, event_seq, %s, %s FROM jobs WHERE id = %s",
            what,
            data,
            job,
        )

    def _job(self, number: int, *, lost: int = 0, cancel: bool = False) -> str:
        with self._sessions.begin() as session:
            submission = Submission(kind="probe", spec={"n": number}, **SUBMITTED)
            job_id = service.submit(session, submission).job.id
            if cancel:
                service.cancel(session, job_id, Viewer("ann", "admin"))
                return job_id
        for _ in range(lost):
            self._claim()
            with self._sessions.begin() as session:
                job = service.find(session, job_id, Viewer("ann", "admin"))
                endings.lose(session, job, {"code": "worker_lost", "signal": "signal 9 (SIGKILL)"}, max_losses=3)
        if not lost:
            token = self._claim()
            cell, file = (stage(self._sessions, self._storage, f"{what} {number}".encode()) for what in ("cell", "file"))
            with self._sessions.begin() as session:
                endings.keep_cells(session, job_id, token, {"step/0": cell})
            with self._sessions.begin() as session:
                endings.succeed(session, job_id, token, {}, [("text.txt", "text/plain", file)], metrics={})
        return job_id

    def _claim(self) -> int:
        with self._sessions.begin() as session:
            lease = claims.claim(session, Claimer("light-0@here", "light", 1, {"probe": 1}), ttl=60, slice_seconds=60)
        assert lease is not None
        return lease.token

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()


@pytest.fixture(scope="module")
def _whole_books(postgres_url_factory: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    made = Books(postgres_url_factory(), tmp_path_factory.mktemp("books"))
    yield made
    made.close()


@pytest.fixture
def books(_whole_books: Books, tmp_path: Path) -> Iterator[Books]:
    """The same set for each test: what a test doctors is undone after it."""
    made = copy.copy(_whole_books)
    made.acknowledged = list(made.acknowledged)
    made.objects = Path(shutil.copytree(made.objects, tmp_path / "objects"))
    with made.connection.transaction(force_rollback=True):
        yield made


def test_healthy_jobs_are_found_healthy(books: Books) -> None:
    assert books.audit() == Audit(jobs=12, poison=1, cancelled=1)


def _forget_row(books: Books, job: str) -> None:
    books.doctor("DELETE FROM jobs WHERE id = %s", job)


def _forget_file(books: Books, job: str) -> None:
    books.doctor("DELETE FROM artifacts WHERE job_id = %s", job)


def _forget_cell(books: Books, job: str) -> None:
    books.doctor("DELETE FROM job_cells WHERE job_id = %s", job)


def _forget_event(books: Books, job: str) -> None:
    books.doctor("DELETE FROM job_events WHERE job_id = %s AND seq = 3", job)


def _forget_object(books: Books, _job: str) -> None:
    (books.objects / "sha256" / hashlib.sha256(b"file 3").hexdigest()).unlink()


def _damage_object(books: Books, _job: str) -> None:
    (books.objects / "sha256" / hashlib.sha256(b"cell 3").hexdigest()).write_bytes(b"something else")


def _end_twice(books: Books, job: str) -> None:
    books.add_event(job, "succeeded")


def _write_late(books: Books, job: str) -> None:
    books.add_event(job, "cell", '{"cell": "step/0"}')


def _write_without_lease(books: Books, job: str) -> None:
    books.doctor("UPDATE job_events SET type = 'lost' WHERE job_id = %s AND type = 'started'", job)
    books.doctor("UPDATE jobs SET attempt = 0 WHERE id = %s", job)


def _write_cell_twice(books: Books, job: str) -> None:
    books.doctor("UPDATE jobs SET event_seq = event_seq + 1 WHERE id = %s", job)
    books.doctor("UPDATE job_events SET seq = seq + 1 WHERE job_id = %s AND type = 'succeeded'", job)
    books.doctor("INSERT INTO job_events (job_id, seq, type, data) VALUES (%s, 4, 'cell', '{\"cell\": \"step/0\"}')", job)


def _start_twice(books: Books, job: str) -> None:
    books.doctor("UPDATE job_events SET type = 'started' WHERE job_id = %s AND type = 'cell'", job)
    books.doctor("UPDATE jobs SET attempt = 2 WHERE id = %s", job)
    books.doctor("DELETE FROM job_cells WHERE job_id = %s", job)


def _submit_twice(books: Books, job: str) -> None:
    books.acknowledged.remove(job)


def _stick(books: Books, job: str) -> None:
    books.doctor("UPDATE jobs SET state = 'queued' WHERE id = %s", job)
    books.doctor("DELETE FROM job_events WHERE job_id = %s AND type = 'succeeded'", job)
    books.doctor("UPDATE jobs SET event_seq = event_seq - 1 WHERE id = %s", job)


def _fail(books: Books, job: str) -> None:
    books.doctor('UPDATE jobs SET state = \'failed\', error = \'{"code": "internal_error", "detail": "x"}\' WHERE id = %s', job)


@pytest.mark.parametrize(
    ("column", "doctored"),
    [
        *(("lost", d) for d in (_forget_row, _forget_file, _forget_cell, _forget_event, _forget_object, _damage_object)),
        *(
            ("doubled", d)
            for d in (_end_twice, _write_late, _write_without_lease, _write_cell_twice, _start_twice, _submit_twice)
        ),
        ("stuck", _stick),
        ("failed", _fail),
    ],
)
def test_a_doctored_job_is_found_in_its_column_and_in_no_other(
    books: Books, column: str, doctored: Callable[[Books, str], None]
) -> None:
    job = books.jobs[3]
    doctored(books, job)
    found = books.audit()
    assert list(getattr(found, column)) == [job], found
    assert not any(getattr(found, other) for other in ("lost", "doubled", "stuck", "failed") if other != column), found
    assert (found.jobs, found.poison, found.cancelled) == (12, 1, 1)


def test_poison_without_a_signal_and_unintended_poison_count_as_failures(books: Books) -> None:
    books.doctor("UPDATE jobs SET error = jsonb_set(error, '{detail}', '\"last: lease_expired\"') WHERE id = %s", books.poison)
    poisoned = books.poison
    assert list(books.audit().failed) == [poisoned]
    books.poison = books.jobs[0]  # now a job that succeeded is meant to be poison, and the poisoned one is not
    assert set(books.audit().failed) == {books.jobs[0], poisoned}


def test_recovery_is_measured_from_the_fault_to_the_event_that_ends_it(books: Books) -> None:
    began = books.connection.execute("SELECT '2026-01-01 12:00Z'::timestamptz AS at").fetchone()
    assert began is not None
    first, second = books.jobs[:2]
    books.doctor("UPDATE job_events SET at = '2026-01-01 11:00Z'")
    books.doctor("UPDATE jobs SET created_at = '2026-01-01 11:00Z'")
    books.doctor("UPDATE job_events SET at = '2026-01-01 12:00:07Z' WHERE job_id = %s AND type = 'started'", first)
    books.doctor("UPDATE job_events SET at = '2026-01-01 12:00:02Z' WHERE job_id = %s AND type = 'cell'", second)
    books.doctor("UPDATE jobs SET created_at = '2026-01-01 12:00:05Z' WHERE id = %s", second)
    strikes = [Strike(began["at"], "start", first), Strike(began["at"], "commit"), Strike(began["at"], "submission")]
    assert recoveries(books.connection, LABEL, strikes) == [7.0, 2.0, 5.0]
    assert recoveries(books.connection, LABEL, [Strike(began["at"], "start", second)]) == []
    assert [strike.job for strike in setbacks(books.connection, LABEL)] == [books.poison] * 2  # its third loss ended it
