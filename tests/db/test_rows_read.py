"""Lists read rows in proportion to what they return, not to the size of the database, as EXPLAIN ANALYZE counts under default settings."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from app.db import make_engine, make_sessions
from app.jobs import repository
from app.jobs.repository import JobFilters
from tests.db.crowd import fill
from tests.db.listed import ADMIN, NAMED

JOBS = 20_000
MARGIN = 600
"""Rows that a statement may read however few it returns: an owner's 150 waiting jobs and the owners' turns, a page of 50 while a member sees
one job in seven, groups."""
UNFINISHED = 3_004
"""Jobs of the crowd that wait or run."""
COUNTING = {"status: queues", "status: waiting", "usage of everybody"}
"""These count the unfinished jobs by queue, place and owner: they read each, and its entry of an index, and no finished job."""


@pytest.fixture(scope="module")
def crowd(postgres_url_factory: Callable[[], str]) -> Iterator[Engine]:
    """A database with JOBS jobs and what belongs to them."""
    engine = make_engine(postgres_url_factory(), pool_size=2)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        fill(connection, JOBS)
    yield engine
    engine.dispose()


def rows(plan: dict[str, Any]) -> int:
    """Rows that a plan's scans read, dropped ones too."""
    below = plan.get("Plans", ())
    if "Scan" in plan["Node Type"] and plan["Node Type"] not in ("Subquery Scan", "CTE Scan", "WorkTable Scan", "Function Scan"):
        dropped = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = int((plan["Actual Rows"] + dropped) * plan["Actual Loops"])
        return own if plan["Node Type"] != "Bitmap Heap Scan" else own + sum(rows(one) for one in below)
    return sum(rows(one) for one in below)


def statements(session: Session, work: Any) -> list[tuple[str, Any]]:
    """Runs the work; returns each statement with its parameters."""
    asked: list[tuple[str, Any]] = []

    def hear(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        asked.append((statement, parameters))

    engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", hear)
    try:
        work(session)
    finally:
        event.remove(engine, "before_cursor_execute", hear)
    return asked


def account(session: Session, work: Any) -> list[tuple[str, int, int]]:
    """Each statement of the work: its text, rows read, rows returned."""
    found = []
    for statement, parameters in statements(session, work):
        cursor = session.connection().connection.cursor()
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {statement}", parameters)
        (plan,) = cursor.fetchone()[0]
        found.append((statement, rows(plan["Plan"]), int(plan["Plan"]["Actual Rows"])))
    return found


@pytest.mark.parametrize("name", NAMED)
def test_a_list_reads_what_it_returns(crowd: Engine, name: str) -> None:
    with make_sessions(crowd)() as session:
        for statement, read, returned in account(session, NAMED[name]):
            counted = 2 * UNFINISHED if name in COUNTING else 0
            assert read <= 10 * returned + MARGIN + counted, (name, read, returned, statement)


def visits(plan: dict[str, Any]) -> int:
    """Rows that the nodes of a plan return or drop, over all their loops: how often a row is looked at."""
    dropped = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    return int((plan["Actual Rows"] + dropped) * plan["Actual Loops"]) + sum(map(visits, plan.get("Plans", ())))


def general_plans(session: Session, work: Any) -> list[dict[str, Any]]:
    """Plans, as run, of each statement of the work when it is planned once for all parameters, as the server soon does."""
    plans = []
    session.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
    cursor = session.connection().connection.cursor()
    for statement, parameters in statements(session, work):
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        numbered = statement % {name: f"${number}" for number, name in enumerate(names, start=1)}
        values = sql.SQL("({})").format(sql.SQL(", ").join(sql.Literal(parameters[name]) for name in names))
        cursor.execute(f"PREPARE general AS {numbered}")
        cursor.execute(
            sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) EXECUTE general {}").format(values if names else sql.SQL(""))
        )
        plans.append(cursor.fetchone()[0][0]["Plan"])
        cursor.execute("DEALLOCATE general")
    return plans


@pytest.mark.parametrize("name", NAMED)
def test_a_list_reads_what_it_returns_in_a_general_plan(crowd: Engine, name: str) -> None:
    """Which knows neither how many ids nor how large a page is asked for."""
    with make_sessions(crowd)() as session:
        for plan in general_plans(session, NAMED[name]):
            counted = 2 * UNFINISHED if name in COUNTING else 0
            assert rows(plan) <= 10 * int(plan["Actual Rows"]) + MARGIN + counted, (name, plan)


def test_placing_many_jobs_looks_at_each_a_few_times_in_a_general_plan(crowd: Engine) -> None:
    """Places of 200 jobs among 3,000 compared each of these with the 200 for each owner."""
    with make_sessions(crowd)() as session:
        for plan in general_plans(session, NAMED["status: waiting"]):
            assert visits(plan) < 10 * UNFINISHED


def test_a_search_for_words_is_one_statement_however_many_jobs_hold_them(crowd: Engine) -> None:
    """With a parameter for each of 200 jobs, the general plan for a page read a whole index in the order of the list: 40 ms of CPU, not 8."""
    counts: list[int] = []

    def search(session: Session, words: str) -> None:
        counts.append(len(repository.listing(session, ADMIN, JobFilters(words=words), limit=50, before=None)))

    with make_sessions(crowd)() as session:
        few, many = [
            [statement for statement, _ in statements(session, partial(search, words=words))] for words in ("zebra 500", "zebra")
        ]
    assert counts == [2, 40]
    assert few == many


def test_the_account_sees_a_whole_table_read(crowd: Engine) -> None:
    with make_sessions(crowd)() as session:
        [(_, read, returned)] = account(
            session, lambda s: s.execute(text("SELECT count(*) FROM jobs WHERE notes LIKE '%of 7'")).all()
        )
    assert (read, returned) == (JOBS, 1)
