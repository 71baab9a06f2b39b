"""Many requests of one user at once: bounded for that user, without effect on others, and ended when their client hangs up; and what a plan of
a study may cost."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from app import db
from app.db import connect_args
from app.planner import Planner
from tests.api.conftest import Running
from tests.api.lock_waits import until
from tests.api.test_bad_input import problem
from tests.api.test_studies import STUDY
from tests.hostile.routes import address, operations

CROWD = 22  # more than the 1 + 8 plans that one user may have in work and waiting (app/planner.py)
MODELS, TRAITS = 4, 6


@pytest.fixture
def lasting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database ends statements after 100 s, not after 10, and open transactions never: what ends sooner was ended by the service."""
    made = connect_args(100)
    made["options"] = str(made["options"]).replace(
        "idle_in_transaction_session_timeout=30000", "idle_in_transaction_session_timeout=0"
    )
    monkeypatch.setattr(db, "connect_args", lambda: made)


def large_study(api: Running, client: httpx2.Client) -> dict[str, Any]:
    """A study of 52 jobs with all its evidence."""
    for i in range(MODELS):
        api.add_model(f"m{i}")
    names = [f"t{i}" for i in range(TRAITS)]
    for name in names:
        rows = {part: [f"{name} {part} {word}" for word in ("one", "two")] for part in ("positive", "negative")}
        asked = {"questions": [f"{name} what?", f"{name} why not now?"]}
        assert client.post("/v1/traits", json={"name": name, **rows, "steering": asked}).status_code == 201
    return {"models": [f"m{i}" for i in range(MODELS)], "traits": names, "layers": [2], "evidence": "full"}


def at_once(count: int, send: Callable[[int], httpx2.Response]) -> list[httpx2.Response]:
    """The answers to requests that are sent together."""
    found: list[httpx2.Response] = []
    threads = [threading.Thread(target=lambda i=i: found.append(send(i))) for i in range(count)]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@contextmanager
def asking(client: httpx2.Client, *paths: str) -> Iterator[list[tuple[str, int, float]]]:
    """Requests these paths in turn until the body ends; yields the path, status and seconds of each."""
    seen: list[tuple[str, int, float]] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            for path in paths:
                began = time.monotonic()
                status = client.get(path).status_code
                seen.append((path, status, time.monotonic() - began))
            done.wait(0.05)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def assert_served(seen: list[tuple[str, int, float]], whole: float) -> None:
    """All of them succeeded, and none waited for the crowd, which took `whole` seconds."""
    assert Counter(status for _, status, _ in seen) == {200: len(seen)}
    slowest = max(seconds for *_, seconds in seen)
    assert slowest < max(5, whole / 2), f"{slowest:.1f} s of {whole:.1f} s, which it would take if it came after the crowd"


def test_a_crowd_of_plans_waits_for_itself_and_others_are_served(api: Running, ada: httpx2.Client) -> None:
    study = large_study(api, ada)
    began = time.monotonic()
    with api.client("bob") as bob, asking(bob, "/livez", "/readyz", "/v1/jobs") as seen:
        answers = at_once(CROWD, lambda _: ada.post("/v1/studies?dry_run=true", json=study, timeout=120))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {200, 429}, statuses  # how many are refused depends on speed; that some are, the next test asks
    assert statuses[200] >= 1
    assert len({answer.text for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 429:
            assert problem(answer, 429)["code"] == "too_many_at_once"
            assert int(answer.headers["Retry-After"]) > 0
    assert_served(seen, time.monotonic() - began)
    assert ada.get("/v1/jobs").json()["items"] == []
    assert ada.post("/v1/studies?dry_run=true", json=study, timeout=120).status_code == 200


def test_retries_of_a_study_by_its_job_are_bounded_like_plans(
    api: Running, ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first retry is under way until another is refused, so that the crowd is together however slowly it comes."""
    refused, once = threading.Event(), Planner._once

    def held(self: Planner, *about: Any) -> object:
        refused.wait(60)
        return once(self, *about)

    def retry(_: int) -> httpx2.Response:
        answer = ada.post(f"/v1/jobs/{made}/retry", timeout=120)
        if answer.status_code == 429:
            refused.set()
        return answer

    made = ada.post("/v1/studies", json=STUDY).json()["id"]
    while ada.get(f"/v1/jobs/{made}").json()["state"] != "cancelled":
        assert ada.post(f"/v1/jobs/{made}/cancel", timeout=120).is_success
    began = time.monotonic()
    with api.client("bob") as bob, asking(bob, "/readyz", "/v1/jobs") as seen:
        monkeypatch.setattr(Planner, "_once", held)
        answers = at_once(CROWD, retry)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {202, 429}, statuses
    assert {problem(answer, 429)["code"] for answer in answers if answer.status_code == 429} == {"too_many_at_once"}
    assert_served(seen, time.monotonic() - began)


def test_a_plan_writes_nothing_and_takes_no_lock(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    """Nor an event, a notification, a turn or a sequence's next number, which a rollback would hide or not give back."""
    with sessions.begin() as session:
        for table in ("jobs", "job_edges", "job_events", "owner_turns", "studies"):
            session.execute(text(f"LOCK TABLE {table} IN EXCLUSIVE MODE"))  # reads pass, and nothing else
        plan = ada.post("/v1/studies?dry_run=true", json=STUDY, timeout=120)
    assert plan.status_code == 200, plan.text
    assert plan.json()["jobs"] == 6


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 200),
        ({"models": ["nobody"]}, 422),
        ({"traits": ["kindness"]}, 422),
        ({"layers": [8]}, 422),
        ({"judge": "nobody"}, 422),
        ({"webhook": "nobody"}, 422),
        ({"visibility": "group", "group": "strangers"}, 422),
        ({"after": [{"job": "job_" + "0" * 26}]}, 422),
        ({"max_new_tokens": 100_000}, 422),
    ],
)
def test_a_plan_is_refused_with_the_same_error_as_its_submission(ada: httpx2.Client, change: dict[str, Any], status: int) -> None:
    plan = ada.post("/v1/studies?dry_run=true", json=STUDY | change)
    made = ada.post("/v1/studies", json=STUDY | change)
    assert (plan.status_code, made.status_code) == (status, 202 if status == 200 else status), plan.text
    if status != 200:
        assert [plan.json()[name] for name in ("code", "detail", "errors")] == [
            made.json()[name] for name in ("code", "detail", "errors")
        ]


def test_a_study_has_a_bounded_number_of_jobs(api: Running, ada: httpx2.Client) -> None:
    """Refused before anything is looked up, with the arithmetic."""
    study = {"models": [f"m{i}" for i in range(5)], "traits": [f"t{i}" for i in range(50)]}
    for params in ({"dry_run": "true"}, {}):
        body = problem(ada.post("/v1/studies", params=params, json=study), 422)
        assert body["code"] == "study_too_large"
        assert body["errors"][0]["pointer"] == "/traits"
        said = (
            "5 models x 50 traits: 5 calibrations + 250 extractions + 250 steerings + 1 report = 506 jobs; this server allows 500"
        )
        assert said in body["detail"]


@pytest.mark.own_application
def test_waiting_requests_of_one_user_leave_connections_for_others(
    lasting: None, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Forty reads of ada's wait in the database, for a table that is locked; others' reads and the health checks go on."""
    paths = ["/v1/traits"] * 40
    with api.client("ada") as crowd, api.client("bob") as bob:
        bob.get("/v1/jobs")
        answers: list[httpx2.Response] = []
        with sessions.begin() as session:
            session.execute(text("LOCK TABLE traits IN ACCESS EXCLUSIVE MODE"))
            threads = [threading.Thread(target=lambda path=path: answers.append(crowd.get(path))) for path in paths]  # type: ignore[misc]
            for thread in threads:
                thread.start()
            time.sleep(1.5)  # the subject: no more than 10 wait however long the others have had to follow
            assert until(api.sessions, lambda n: n > 0, 60) in range(1, 11), "one user has at most 10 of the 20 connections"
            for _ in range(3):
                for path in ("/readyz", "/v1/jobs", "/v1/studies"):
                    began = time.monotonic()
                    assert bob.get(path).status_code == 200, path
                    assert time.monotonic() - began < 20, f"{path}: it would wait 30 s for a connection"
        for thread in threads:
            thread.join()
    assert Counter(answer.status_code for answer in answers) == {200: 40}


def hung_up(
    api: Running, method: str, path: str, key: str, body: Any, seconds: float, sooner: threading.Event | None = None
) -> None:
    """Sends the request, waits a little, or until it is told to go sooner, and goes away without its answer."""
    data = b"" if body is None else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Length: {len(data)}"]
    with socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0)) as client:
        client.sendall("\r\n".join([*head, "Content-Type: application/json", "", ""]).encode() + data)
        (sooner or threading.Event()).wait(seconds)


WITHOUT_A_REQUEST = {"api_keys", "users", "groups", "group_members", "alembic_version"}
"""Tables that keys are looked up in, and that the service reads by itself, as it does those of webhooks."""
BODIES: dict[str, Any] = {
    "/v1/calibrations": {"model": "demo"},
    "/v1/extractions": {"model": "demo", "trait": "refusal"},
    "/v1/steerings": {"model": "demo", "trait": "refusal"},
    "/v1/studies": STUDY,
    "/v1/studies?dry_run=true": STUDY,
    "/v1/generations": {"model": "demo", "prompts": [{"prompt": "How?"}]},
}


@pytest.mark.own_application
def test_every_request_ends_with_its_client(lasting: None, api: Running, sessions: sessionmaker[Session]) -> None:
    """Each that reaches the database hangs there, for every table is locked; when its client has gone nothing of it may be left."""
    key = api.key("root", "admin")
    gets = [("GET", address(path), None) for method, path, _ in operations() if method == "GET"]
    asked = [*gets, *(("POST", path, body) for path, body in BODIES.items())]
    with sessions() as session:
        tables = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
    tables = [name for name in tables if name not in WITHOUT_A_REQUEST and not name.startswith("webhook")]
    hung = []
    with sessions.begin() as session:
        hung_up(api, "GET", "/v1/jobs?limit=1", key, None, 0.2)  # the key is known from now on
        session.execute(text(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"))
        for method, path, body in asked:
            patience = 20 if method == "POST" else 1  # many GETs never reach a locked table
            seen = threading.Event()
            threading.Thread(target=hung_up, args=(api, method, path, key, body, patience, seen)).start()
            if until(api.sessions, lambda n: n > 0, patience):
                hung.append((method, path))
            seen.set()
            left = until(api.sessions, lambda n: n == 0, 40)  # left alone it would be processed for 100 s
            assert left == 0, f"{method} {path} is still being processed {left} times"
    assert len(hung) > 20, hung
    assert {("POST", path) for path in BODIES} <= set(hung)
    with api.client("root", "admin") as client:
        assert client.get("/v1/jobs").json()["items"] == []
        assert client.get("/readyz").status_code == 200


@pytest.mark.own_application
def test_a_client_that_waits_gets_its_answer_when_the_lock_is_gone(
    lasting: None, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """The counterpart: those who stay are not taken for gone, in a request with a body and in one without."""
    answers: list[int] = []
    ada.get("/v1/jobs")
    with sessions.begin() as session:
        session.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        threads = [
            threading.Thread(target=lambda: answers.append(ada.get("/v1/jobs").status_code)),
            threading.Thread(target=lambda: answers.append(ada.post("/v1/calibrations", json={"model": "demo"}).status_code)),
            threading.Thread(target=lambda: answers.append(ada.post("/v1/studies?dry_run=true", json=STUDY).status_code)),
        ]
        for thread in threads:
            thread.start()
        assert until(api.sessions, lambda n: n == 3, 25) == 3
        time.sleep(1)  # the subject: a client that stays for a second is not taken for gone
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 200, 202]


@pytest.mark.own_application
def test_a_plan_given_up_frees_its_place(
    lasting: None, api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Clients that go away one after the other must not leave a queue of plans behind them."""
    key = api.key("ada")
    with sessions.begin() as session:
        session.execute(text("LOCK TABLE models IN ACCESS EXCLUSIVE MODE"))
        for _ in range(5):
            hung_up(api, "POST", "/v1/studies?dry_run=true", key, STUDY, 0.3)
        assert until(api.sessions, lambda n: n == 0, 40) == 0, "left alone it would wait for 100 s"
    assert ada.post("/v1/studies?dry_run=true", json=STUDY).status_code == 200


def test_what_a_plan_asks_the_database_grows_with_its_jobs(api: Running, ada: httpx2.Client) -> None:
    """And not with the square of its traits, though each steering names every other trait."""
    study = large_study(api, ada)
    each = {}
    for count in (2, 6):
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any, into: list[str] = statements) -> None:
            into.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            answer = ada.post("/v1/studies?dry_run=true", json=study | {"traits": study["traits"][:count]}, timeout=120)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        each[count] = len(statements) / answer.json()["jobs"]
    assert each[6] < min(12, 1.2 * each[2]), each
