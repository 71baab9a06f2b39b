"""Traits over HTTP: uploaded as files of trait-interp or as JSON; each content is a version; private ones are hidden; shipped ones are there."""

import hashlib
import json
import threading
import time
from typing import Any

import httpx2
import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.viewer import Viewer
from app.errors import Problem
from app.traits import service
from app.traits.dataset import build
from app.traits.models import Trait
from app.traits.schemas import TraitRequest
from app.traits.seeding import shipped_datasets
from shipped import CHAT_TRAIT_NAMES, TRAIT_NAMES, trait_folder
from tests.api.conftest import Running
from tests.api.test_bad_input import problem

TRAIT: dict[str, Any] = {
    "name": "politeness",
    "definition": "How polite a text is.",
    "positive": ["Please greet the king.", "Kindly thank a baker."],
    "negative": ["Insult a horse.", "Shout at the moon."],
    "steering": {"questions": ["How do I ask for leave?", "What shall I write to my aunt?"]},
}


def folder(name: str) -> list[tuple[str, tuple[str, bytes]]]:
    """The files of a shipped trait as parts of a form."""
    return [("files", (path.name, path.read_bytes())) for path in sorted(trait_folder(name).iterdir())]


def test_the_shipped_traits_are_there_from_the_start_and_everybody_reads_them(ada: httpx2.Client) -> None:
    listed = ada.get("/v1/traits").json()["items"]
    assert sorted(trait["name"] for trait in listed) == sorted(TRAIT_NAMES + CHAT_TRAIT_NAMES)
    for trait in listed:
        assert (trait["owner"], trait["visibility"], trait["notes"]) == ("binnacle", "public", [])
        data = ada.get(trait["links"]["dataset.json"])
        assert hashlib.sha256(data.content).hexdigest() == trait["version"]
        stored = [json.loads(line) for line in (trait_folder(trait["name"]) / "positive.jsonl").read_text().splitlines()]
        dataset = data.json()
        assert [(row["prompt"], row["cluster"]) for row in dataset["positive"]] == [
            (row["prompt"], row["cluster"]) for row in stored
        ]
        assert trait["counts"]["shared"] == {}


def test_the_files_of_a_folder_and_the_same_as_json_are_one_version(ada: httpx2.Client) -> None:
    made = ada.post("/v1/traits", data={"name": "refusal"}, files=folder("refusal"))
    assert made.status_code == 201, made.text
    trait = made.json()
    assert made.headers["Location"] == trait["links"]["self"] == f"/v1/traits/{trait['id']}"
    shipped = ada.get("/v1/traits", params={"owner": "binnacle", "name": "refusal"}).json()["items"][0]
    assert (trait["version"], trait["counts"], trait["owner"]) == (shipped["version"], shipped["counts"], "ada")
    dataset = ada.get(trait["links"]["dataset.json"]).json()
    again = ada.post("/v1/traits", json=dataset)
    assert (again.status_code, again.json()["id"]) == (200, trait["id"])
    renamed = ada.post("/v1/traits", json={**dataset, "name": "refusal2"})
    assert (renamed.status_code, renamed.json()["version"] == trait["version"]) == (201, False)


def test_a_name_means_the_newest_version_and_a_hash_any(ada: httpx2.Client) -> None:
    first = ada.post("/v1/traits", json=TRAIT).json()
    second = ada.post("/v1/traits", json={**TRAIT, "definition": "How kind it is."}).json()
    by_name = ada.get("/v1/traits/politeness").json()
    assert by_name["id"] == second["id"]
    assert [one["id"] for one in by_name["versions"]] == [second["id"], first["id"]]
    assert ada.get(f"/v1/traits/politeness@{first['version'][:8]}").json()["id"] == first["id"]
    assert ada.get(f"/v1/traits/{first['reference']}").json()["id"] == first["id"]
    assert ada.get(f"/v1/traits/{first['id']}").json()["definition"] == "How polite a text is."
    assert problem(ada.get("/v1/traits/politeness@00000000"), 404)
    assert problem(ada.get("/v1/traits/politeness@zz"), 422)["errors"][0]["parameter"] == "path.reference"


def test_the_dataset_is_a_download_with_its_hash_as_validator(ada: httpx2.Client) -> None:
    trait = ada.post("/v1/traits", json=TRAIT).json()
    file = ada.get("/v1/traits/politeness/dataset.json")
    assert file.headers["ETag"] == f'"sha256-{trait["version"]}"'
    assert "politeness" in file.headers["Content-Disposition"]
    assert ada.get("/v1/traits/politeness/dataset.json", headers={"If-None-Match": file.headers["ETag"]}).status_code == 304
    part = ada.get("/v1/traits/politeness/dataset.json", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, file.content[:10])


def test_a_cache_asks_again_for_a_dataset_since_its_name_may_mean_a_newer_version(ada: httpx2.Client) -> None:
    """Files of jobs may be cached for a year. Under a trait's name a cache would show the first version for as long."""
    ada.post("/v1/traits", json=TRAIT)
    path = "/v1/traits/politeness/dataset.json"
    first = ada.get(path)
    known = {"If-None-Match": first.headers["ETag"]}
    answers = [first, ada.head(path), ada.get(path, headers=known), ada.get(path, headers={"Range": "bytes=0-9"})]
    assert [answer.status_code for answer in answers] == [200, 200, 304, 206]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"private, no-cache"}
    ada.post("/v1/traits", json={**TRAIT, "definition": "How kind it is."})
    newest = ada.get(path, headers=known)
    assert (newest.status_code, newest.json()["definition"]) == (200, "How kind it is.")


def test_private_traits_of_others_are_not_found_and_own_ones_go_before_public_ones(
    api: Running, ada: httpx2.Client, admin: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    mine = ada.post("/v1/traits", json={**TRAIT, "name": "refusal"}).json()
    with api.client("bob") as bob:
        for path in (mine["id"], mine["reference"]):
            assert problem(bob.get(f"/v1/traits/{path}"), 404)
            assert problem(bob.get(f"/v1/traits/{path}/dataset.json"), 404)
        assert bob.get("/v1/traits/refusal").json()["owner"] == "binnacle"
        assert mine["id"] not in {one["id"] for one in bob.get("/v1/traits").json()["items"]}
        assert mine["id"] not in {one["id"] for one in bob.get("/v1/traits/refusal").json()["versions"]}
        assert problem(bob.post("/v1/traits", json={**TRAIT, "visibility": "public"}), 403)
    assert ada.get("/v1/traits/refusal").json()["owner"] == "ada"
    assert admin.get("/v1/traits/refusal").json()["owner"] == "binnacle"
    assert admin.get(f"/v1/traits/{mine['reference']}").json()["id"] == mine["id"]
    with sessions() as session:
        assert service.resolve(session, "refusal", Viewer("ada", "member")).id == mine["id"]
        assert service.resolve(session, "refusal", Viewer("bob", "member")).owner == "binnacle"
        with pytest.raises(Problem) as refused:
            service.resolve(session, mine["reference"], Viewer("bob", "member"), "/traits/1")
    assert refused.value.errors[0]["pointer"] == "/traits/1"
    assert "You may use: chat-formality, chat-refusal, chat-sycophancy, refusal, sycophancy." in refused.value.detail


def test_a_trait_that_an_administrator_makes_public_is_seen_by_all(ada: httpx2.Client, admin: httpx2.Client) -> None:
    hidden = admin.post("/v1/traits", json=TRAIT).json()
    assert ada.get("/v1/traits/politeness").status_code == 404
    shown = admin.post("/v1/traits", json={**TRAIT, "visibility": "public"})
    assert (shown.status_code, shown.json()["id"]) == (200, hidden["id"])
    assert ada.get("/v1/traits/politeness").json()["visibility"] == "public"


def test_viewers_upload_nothing(api: Running) -> None:
    with api.client("eve", "viewer") as eve:
        assert problem(eve.post("/v1/traits", json=TRAIT), 403)
        assert eve.get("/v1/traits").status_code == 200


def test_the_list_of_traits_is_paged_and_filtered(ada: httpx2.Client) -> None:
    for number in range(3):
        ada.post("/v1/traits", json={**TRAIT, "definition": f"Version {number}."})
    first = ada.get("/v1/traits", params={"name": "politeness", "limit": 2}).json()
    rest = ada.get("/v1/traits", params={"name": "politeness", "limit": 2, "cursor": first["next_cursor"]}).json()
    assert [one["definition"] for one in first["items"] + rest["items"]] == ["Version 2.", "Version 1.", "Version 0."]
    assert rest["next_cursor"] is None
    assert problem(ada.get("/v1/traits", params={"name": "other", "cursor": first["next_cursor"]}), 422)


def test_one_content_uploaded_by_many_at_once_is_one_trait(api: Running) -> None:
    key = api.key("ada")
    answers: list[httpx2.Response] = []

    def upload() -> None:
        with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
            answers.append(client.post("/v1/traits", json=TRAIT))

    threads = [threading.Thread(target=upload) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_several_servers_that_start_at_once_seed_once(api: Running, sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        session.execute(delete(Trait))
    others = [Running(api.settings, sessions) for _ in range(2)]
    threads = [threading.Thread(target=other.start) for other in others]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    try:
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(Trait)) == len(TRAIT_NAMES + CHAT_TRAIT_NAMES)
    finally:
        for other in others:
            other.stop()


def restarted(api: Running, sessions: sessionmaker[Session]) -> None:
    """Starts the service once more on the same database, and stops it."""
    again = Running(api.settings, sessions)
    again.start()
    again.stop()


def test_a_shipped_trait_that_an_administrator_made_private_stays_private(
    api: Running, sessions: sessionmaker[Session], ada: httpx2.Client, admin: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart, and after an upgrade that ships another version of it; other traits' new versions are for everyone."""
    assert admin.patch("/v1/traits/refusal", json={"visibility": "private"}).status_code == 200
    restarted(api, sessions)
    assert ada.get("/v1/traits/refusal").status_code == 404
    assert admin.get("/v1/traits/refusal").json()["visibility"] == "private"
    shipped = shipped_datasets()
    news = [
        build(TraitRequest.model_validate({**json.loads(one.data), "definition": f"{one.definition} Anew."}), [])
        for one in shipped
    ]
    monkeypatch.setattr("app.traits.seeding.shipped_datasets", lambda: news)
    restarted(api, sessions)
    listed = admin.get("/v1/traits", params={"owner": "binnacle"}).json()["items"]
    assert len(listed) == 2 * len(shipped)
    assert {one["name"] for one in listed if one["visibility"] == "private"} == {"refusal"}
    assert ada.get("/v1/traits/refusal").status_code == 404
    assert ada.get("/v1/traits/sycophancy").json()["version"] in {one.version for one in news}


def test_a_server_starts_without_its_database_and_seeds_later(
    api: Running, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.traits.seeding.AGAIN", 0.1)
    with sessions.begin() as session:
        session.execute(delete(Trait))
        session.connection().exec_driver_sql("ALTER TABLE traits RENAME TO away")
    late = Running(api.settings, sessions)
    late.start()
    try:
        with sessions.begin() as session:
            session.connection().exec_driver_sql("ALTER TABLE away RENAME TO traits")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with sessions() as session:
                if session.scalar(select(func.count()).select_from(Trait)) == len(TRAIT_NAMES + CHAT_TRAIT_NAMES):
                    break
            time.sleep(0.05)
        else:
            raise AssertionError("the traits never came")
    finally:
        late.stop()


def test_a_form_goes_only_where_files_are_taken_and_has_its_own_limit(
    ada: httpx2.Client,
) -> None:
    assert problem(ada.post("/v1/calibrations", files=[("files", ("x", b"{}"))]), 415)["code"] == "unsupported_media_type"
    larger = [*folder("refusal"), ("files", ("negative.txt", b"x" * 6_000_000))]
    answer = ada.post("/v1/traits", data={"name": "refusal"}, files=larger)
    assert (answer.status_code, answer.json()["notes"]) == (
        201,
        ["negative.txt was not read, because negative.jsonl is present."],
    )
    over = ada.post("/v1/traits", data={"name": "refusal"}, files=[("files", ("negative.txt", b"x" * 65_000_000))])
    assert "this server allows 64,000,000" in problem(over, 413)["detail"]
