"""Lists: pages show every entry once, whatever is added meanwhile; filters and cursors."""

from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter
from sqlalchemy.orm import Session, sessionmaker

from app.http.paging import LARGEST, Limit
from tests.api.conftest import Running, submit
from tests.api.lives import claim, fail


def pages(client: httpx2.Client, path: str, **params: Any) -> list[list[str]]:
    """The ids on each page, until there are no more."""
    found, cursor = [], None
    while True:
        body = client.get(path, params={**params, **({"cursor": cursor} if cursor else {})}).json()
        found.append([item["id"] for item in body["items"]])
        cursor = body["next_cursor"]
        if cursor is None:
            return found


def test_the_pages_together_are_the_whole_list_newest_first(ada: httpx2.Client) -> None:
    made = [submit(ada)["id"] for _ in range(7)]
    found = pages(ada, "/v1/jobs", limit=3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert [job for page in found for job in page] == made[::-1]
    assert pages(ada, "/v1/jobs", limit=7) == [made[::-1]]


def test_a_job_made_meanwhile_neither_repeats_nor_hides_another(ada: httpx2.Client) -> None:
    made = [submit(ada)["id"] for _ in range(4)]
    first = ada.get("/v1/jobs", params={"limit": 2}).json()
    submit(ada)
    second = ada.get("/v1/jobs", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [item["id"] for item in first["items"] + second["items"]] == made[::-1]


def test_a_cursor_is_valid_for_its_own_list_alone(ada: httpx2.Client) -> None:
    for _ in range(3):
        submit(ada)
    cursor = ada.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    for path, params in (("/v1/jobs", {"kind": "calibrate"}), ("/v1/calibrations", {})):
        refused = ada.get(path, params={**params, "cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_cursor")
    flipped = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    assert ada.get("/v1/jobs", params={"cursor": flipped}).status_code == 422


@pytest.mark.parametrize("limit", ["1000000000", "+1000000000", " 1000000000", "1000000000.0", "0000000000001000", "9" * 30])
def test_more_than_the_largest_page_is_answered_with_the_largest(limit: str, ada: httpx2.Client) -> None:
    submit(ada)
    assert len(ada.get("/v1/jobs", params={"limit": limit}).json()["items"]) == 1
    assert TypeAdapter(Limit).validate_python(limit) == LARGEST


@pytest.fixture
def five(api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]) -> dict[str, str]:
    """Five jobs that differ: `a` failed, `b` runs, the others are queued."""
    api.add_model("other")
    jobs = {"a": submit(ada, name="Alpha run", tags=["x", "y"])["id"]}
    fail(sessions, claim(sessions))
    jobs["b"] = submit(ada, name="beta 100%")["id"]
    claim(sessions)
    jobs["c"] = submit(ada, model="other", tags=["y"])["id"]
    jobs["d"] = submit(ada, name="alphabet")["id"]
    with api.client("bob") as bob:
        jobs["e"] = submit(bob)["id"]
    return jobs


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "edcba"),
        ("state=failed", "a"),
        ("state=failed&state=running", "ba"),
        ("model=other", "c"),
        ("owner=bob", "e"),
        ("owner=me", ""),
        ("tag=y", "ca"),
        ("tag=z", ""),
        ("name=alpha", "da"),
        ("name=0%25", "b"),
        ("name=_", ""),
        ("kind=calibrate&tag=x", "a"),
        ("kind=inspect", ""),
        ("created_after=2100-01-01T00:00:00Z", ""),
        ("created_before=2100-01-01T00:00:00Z", "edcba"),
    ],
)
def test_each_filter_keeps_what_it_names(admin: httpx2.Client, five: dict[str, str], query: str, found: str) -> None:
    names = {job: name for name, job in five.items()}
    items = admin.get(f"/v1/jobs?{query}").json()["items"]
    assert "".join(names[item["id"]] for item in items) == found


def test_times_narrow_to_the_jobs_between_them(ada: httpx2.Client) -> None:
    jobs = [submit(ada) for _ in range(3)]
    between = {"created_after": jobs[0]["created_at"], "created_before": jobs[2]["created_at"]}
    assert [item["id"] for item in ada.get("/v1/jobs", params=between).json()["items"]] == [jobs[1]["id"]]


def test_a_list_shows_the_same_job_as_its_own_address(ada: httpx2.Client) -> None:
    job = submit(ada, name="one")
    submit(ada, after=[{"job": job["id"]}])
    for item in ada.get("/v1/jobs").json()["items"]:
        assert item == ada.get(item["links"]["self"]).json()
