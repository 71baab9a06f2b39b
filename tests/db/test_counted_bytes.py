"""Each user's stored bytes are counted as references come and go; after any acts, also at the same time, the count is the true sum."""

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from typer.testing import CliRunner

from app import migrate
from app.ids import new_id
from app.jobs.models import Artifact, Job, JobCell
from app.quotas import usage_repository as usage
from app.retention import repository as retention
from app.storage.blobs import referencing_columns
from app.storage.models import BlobRow
from app.traits.models import Trait
from binnacle.cli.application import build
from binnacle.cli.tree import all_commands
from tests.db.conftest import Desk

OWNERS = ("ann", "bob")
DIGESTS = [f"{i:064x}" for i in range(12)]
SIZES = {digest: 10**i for i, digest in enumerate(DIGESTS)}
HELD = text(f"""
WITH held AS (SELECT owner, digest, count(*) OVER (PARTITION BY digest) > 1 AS shared FROM ({usage._REFERENCES}) AS r)
SELECT h.owner, count(*) AS objects, CAST(sum(b.size) AS bigint) AS bytes,
    CAST(coalesce(sum(b.size) FILTER (WHERE h.shared), 0) AS bigint) AS shared
FROM held h JOIN blobs b USING (digest) GROUP BY h.owner""")
"""What each owner refers to, summed from the references themselves."""


@pytest.fixture
def store(desk: Desk) -> Desk:
    with desk.sessions.begin() as session:
        session.add_all(BlobRow(digest=digest, size=size) for digest, size in SIZES.items())
    return desk


class Hands:
    """Does random things that make, move and remove references, in transactions that commit, fail, or are undone."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self._desk, self._random = desk, random.Random(seed)
        self.committed: set[str] = set()
        self.acts: list[Callable[[Any], None]] = [
            self._add_job, self._add_artifacts, self._add_artifacts, self._add_cell, self._add_cell, self._replace_cell, self._add_trait,
            self._add_vectors, self._remove_job, self._remove_trait, self._remove_vectors, self._remove_results,
        ]  # fmt: skip

    def act(self) -> None:
        try:
            with self._desk.sessions.begin() as session:
                acts = self._random.sample(self.acts, self._random.randint(1, 3))
                for act in acts:
                    act(session)
                if self._random.random() < 0.2:
                    raise ZeroDivisionError  # undone as a whole
            self.committed |= {act.__name__ for act in acts}
        except (ZeroDivisionError, SQLAlchemyError):
            pass

    def _digest(self) -> str:
        return self._random.choice(DIGESTS)

    def _owner(self) -> str:
        return self._random.choice(OWNERS)

    def _job(self, session: Any) -> str:
        found = session.scalars(text("SELECT id FROM jobs ORDER BY id")).all()
        return self._random.choice(found) if found else self._add_job(session)

    def _add_job(self, session: Any) -> str:
        job = Job(id=new_id("job"), kind="probe", job_class="light", owner=self._owner(), spec={}, spec_hash="0" * 64)
        session.add(job)
        session.flush()
        return str(job.id)

    def _add_artifacts(self, session: Any) -> None:
        job = self._job(session)
        for _ in range(self._random.randint(1, 4)):
            name = new_id("art")
            session.add(Artifact(id=name, job_id=job, name=name, digest=self._digest(), size=1, media_type="text/plain"))
        session.flush()

    def _add_cell(self, session: Any) -> None:
        session.merge(JobCell(job_id=self._job(session), cell=f"c{self._random.randint(0, 5)}", digest=self._digest()))
        session.flush()

    def _replace_cell(self, session: Any) -> None:
        session.execute(text("UPDATE job_cells SET digest = :d WHERE cell = 'c0'"), {"d": self._digest()})

    def _add_trait(self, session: Any) -> None:
        name = new_id("trait")
        session.add(Trait(id=name, name=name, version=self._digest(), owner=self._owner(), definition="", counts={}))
        session.flush()

    def _add_vectors(self, session: Any) -> None:
        session.execute(
            text(
                "INSERT INTO vectors (id, source, owner, visibility, model, component, method, layer, width, digest, key, facts) "
                "SELECT :id || n, 'imported', :owner, 'private', 'demo', 'residual', 'm', 1, 8, :d, 'k', '{}' "
                "FROM generate_series(1, 5) AS n"
            ),
            {"id": new_id("v"), "owner": self._owner(), "d": self._digest()},
        )

    def _remove_job(self, session: Any) -> None:
        session.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": self._job(session)})

    def _remove_trait(self, session: Any) -> None:
        session.execute(text("DELETE FROM traits WHERE id IN (SELECT id FROM traits ORDER BY random() LIMIT 2)"))

    def _remove_vectors(self, session: Any) -> None:
        session.execute(text("DELETE FROM vectors WHERE id IN (SELECT id FROM vectors ORDER BY random() LIMIT 7)"))

    def _remove_results(self, session: Any) -> None:
        retention.remove(session, [self._job(session), self._job(session)])


def _assert_counted(desk: Desk) -> None:
    """Every count in the database is the sum over the references."""
    with desk.sessions() as session:
        assert usage.miscounted(session) == []
        held = {row.owner: usage.Stored(row.objects, row.bytes, row.shared) for row in session.execute(HELD)}
        assert usage.stored(session, None, shared=True) == held
        assert usage.on_disk(session) == session.scalar(text("SELECT coalesce(sum(size), 0) FROM blobs"))
        for owner in OWNERS:
            alone = {owner: replace(held[owner], shared=0)} if owner in held else {}
            assert usage.stored(session, owner, shared=False) == alone
            assert usage.stored_bytes(session, owner) == (held[owner].bytes if owner in held else 0)


def _add_model(desk: Desk) -> None:
    with desk.sessions.begin() as session:
        session.execute(
            text("INSERT INTO models (name, source, created_by, state, facts) VALUES ('demo', '/m', 'a', 'ready', '{}')")
        )


@pytest.mark.parametrize("seed", range(3))
def test_after_any_acts_the_count_is_the_sum(store: Desk, seed: int) -> None:
    _add_model(store)
    hands = Hands(store, seed)
    for step in range(150):
        hands.act()
        if step % 10 == 0:
            _assert_counted(store)
        if step % 25 == 0:
            store.do(usage.add_up, most=7)
    _assert_counted(store)
    assert hands.committed == {act.__name__ for act in hands.acts}


def test_acts_at_the_same_time_are_counted_too(store: Desk) -> None:
    """Six at once on few objects and owners, the changes being added up meanwhile; a deadlock between them is a rollback like others."""
    _add_model(store)
    over = threading.Event()

    def work(seed: int) -> None:
        hands = Hands(store, seed)
        for _ in range(25):
            hands.act()

    def add_up() -> None:
        while not over.wait(0.01):
            store.do(usage.add_up, most=5)

    adding = threading.Thread(target=add_up)
    workers = [threading.Thread(target=work, args=(100 + i,)) for i in range(6)]
    for thread in [adding, *workers]:
        thread.start()
    for thread in workers:
        thread.join(120)
    over.set()
    adding.join(120)
    _assert_counted(store)
    store.do(usage.add_up)
    with store.sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM stored_changes")) == 0
        assert session.scalar(text("SELECT count(*) FROM stored_objects WHERE refs <= 0")) == 0
    _assert_counted(store)


def test_a_wrong_count_is_found_and_made_right(store: Desk) -> None:
    _add_model(store)
    hands = Hands(store, 7)
    for _ in range(40):
        hands.act()
    with store.sessions.begin() as session:
        session.execute(text("INSERT INTO stored_changes (owner, bytes, objects) VALUES ('ann', 5, 1), ('gone', 7, 1)"))
    with store.sessions() as session:
        found = {one.owner: one.counted - one.bytes for one in usage.miscounted(session)}
    assert found == {"ann": 5, "gone": 7}
    store.do(usage.recount)
    _assert_counted(store)
    for _ in range(40):
        hands.act()
    _assert_counted(store)


def test_the_migration_counts_existing_references(desk: Desk, database_url: str) -> None:
    with desk.sessions.begin() as session:
        session.add_all(BlobRow(digest=digest, size=size) for digest, size in SIZES.items())
    desk.sessions.kw["bind"].dispose()
    migrate.downgrade(database_url, "0005")  # the last revision without counts
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, kind, job_class, owner, spec, spec_hash) SELECT 'job_' || n, 'probe', 'light', "
                "CASE WHEN n % 2 = 0 THEN 'ann' ELSE 'bob' END, '{}', 'x' FROM generate_series(1, 10) AS n"
            )
        )
        connection.execute(
            text(
                "INSERT INTO job_cells (job_id, cell, digest) SELECT 'job_' || n, 'c', lpad(to_hex(n % 4), 64, '0') "
                "FROM generate_series(1, 10) AS n"
            )
        )
    engine.dispose()
    migrate.upgrade(database_url)
    with desk.sessions() as session:
        assert usage.miscounted(session) == []
        assert usage.stored_bytes(session, "ann") == SIZES[DIGESTS[0]] + SIZES[DIGESTS[2]]
        assert usage.stored_bytes(session, "bob") == SIZES[DIGESTS[1]] + SIZES[DIGESTS[3]]


def test_every_table_that_refers_to_objects_is_counted(desk: Desk) -> None:
    with desk.sessions() as session:
        rows = session.execute(text("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE tgname LIKE 'stored_%'")).all()
    counted = {(table, name) for table, name in rows}
    for column in referencing_columns():
        assert {(column.table.name, f"stored_{act}") for act in ("insert", "delete", "update")} <= counted
    assert ("jobs", "stored_removed") in counted, "a job's references go with it before they can be joined with its owner"


def test_the_command_finds_a_wrong_count_and_repairs_it(store: Desk, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    with store.sessions.begin() as session:
        session.execute(text("INSERT INTO stored_totals (owner, bytes, objects) VALUES ('ann', 1234, 1)"))

    def verify(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(build(all_commands({})), ["quotas", "verify", *options])
        return done.exit_code, done.output

    status, said = verify()
    assert (status, "ann: counted 1,234 bytes, stores 0" in said) == (1, True)
    assert verify("--repair")[0] == 0
    assert verify()[0] == 0
    _assert_counted(store)
