"""Names, tags and notes of a job can be changed and searched later; its spec, state and history cannot be changed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.deletion import repository as deletion
from tests.api.conftest import Running, submit
from tests.api.lives import claim, succeed
from tests.api.lock_waits import until_one_waits


def test_an_edit_changes_the_fields_it_names_and_nothing_else(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Also of a job that is over: its outcome and history stay as they are."""
    job = submit(ada, name="first", tags=["a"], notes="why")
    succeed(sessions, api.context.storage, claim(sessions))
    path = job["links"]["self"]
    before, history = ada.get(path).json(), ada.get(f"{path}/events").json()
    edited = ada.patch(path, json={"name": "the good one", "tags": ["paper", "fig 2"], "keep": True})
    assert edited.status_code == 200
    assert edited.json() == before | {"name": "the good one", "tags": ["paper", "fig 2"], "keep": True}
    assert ada.get(path).json() == edited.json()
    assert ada.patch(path, json={"name": None}).json()["name"] is None
    assert ada.patch(path, json={}).json() == edited.json() | {"name": None}
    assert ada.get(f"{path}/events").json() == history


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"spec": {}}, "unknown_field"),
        ({"state": "succeeded"}, "unknown_field"),
        ({"owner": "bob"}, "unknown_field"),
        ({"tags": ["x" * 65]}, "string_too_long"),
        ({"tags": None}, "list_type"),
        ({"notes": "\u0000"}, "invalid_characters"),
    ],
)
def test_nothing_else_can_be_changed(ada: httpx2.Client, change: dict[str, Any], code: str) -> None:
    path = submit(ada)["links"]["self"]
    before = ada.get(path).json()
    refused = ada.patch(path, json=change)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, code)
    assert ada.get(path).json() == before


@pytest.mark.parametrize(
    ("method", "path", "body"), [("PATCH", "", {"name": "x"}), ("PATCH", "", {"visibility": "public"}), ("POST", "/cancel", None)]
)
def test_a_job_that_is_deleted_meanwhile_is_not_found(
    ada: httpx2.Client, sessions: sessionmaker[Session], method: str, path: str, body: dict[str, str] | None
) -> None:
    job = submit(ada)["id"]
    with ThreadPoolExecutor() as threads, sessions.begin() as session:
        deletion.jobs(session, [job], lock=True)
        answer = threads.submit(ada.request, method, f"/v1/jobs/{job}{path}", json=body)
        until_one_waits(sessions)
        deletion.remove(session, deletion.Going("ada", jobs=[job]))
        session.commit()
        assert answer.result().status_code == 404


def test_a_job_is_changed_by_its_owner_and_by_administrators(api: Running, ada: httpx2.Client, admin: httpx2.Client) -> None:
    path = submit(ada)["links"]["self"]
    with api.client("bob") as bob, api.client("ada", "viewer") as reading:
        assert bob.patch(path, json={"name": "mine"}).status_code == 404
        assert reading.patch(path, json={"name": "mine"}).status_code == 403
    assert admin.patch(path, json={"name": "theirs"}).json()["name"] == "theirs"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sweep", "ba"),
        ("SWEEP gemma", "a"),
        ("sweep paper", "b"),
        ("fig", "b"),
        ("dose gemma", "a"),
        ("100%", "c"),
        ("1_0", ""),
        ("nowhere", ""),
        ("  ", "cba"),
    ],
)
def test_every_word_must_be_in_the_name_the_notes_or_the_tags(ada: httpx2.Client, words: str, found: str) -> None:
    jobs = {
        submit(ada, name="layer sweep", notes="Gemma at low dose")["id"]: "a",
        submit(ada, name="other", notes="a sweep too", tags=["paper", "fig 2"])["id"]: "b",
        submit(ada, name="100% of it")["id"]: "c",
    }
    items = ada.get("/v1/jobs", params={"q": words}).json()["items"]
    assert "".join(jobs[item["id"]] for item in items) == found


def test_a_search_shows_only_what_the_searcher_may_see(api: Running, ada: httpx2.Client) -> None:
    submit(ada, name="sweep")
    with api.client("bob") as bob:
        assert bob.get("/v1/jobs", params={"q": "sweep"}).json()["items"] == []
