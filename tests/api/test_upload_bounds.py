"""Uploads: refused before they are read if possible, removed from the disk if refused later, bounded for each user."""

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, sessionmaker

import app.storage.space
from app.errors import Problem
from app.quotas.repository import put as put_quota
from app.settings import LimitSettings, Settings
from app.storage.models import BlobRow
from app.storage.space import check_room, shortage
from app.traits import service as traits
from tests.api.conftest import Running
from tests.api.lock_waits import until_one_waits
from tests.api.process import ApiProcess
from tests.api.test_bad_input import problem
from tests.api.test_crowds import asking, at_once
from tests.api.test_polling import wait_until
from tests.api.test_traits import TRAIT
from tests.api.test_traits_clusters import unique_words
from tests.api.test_vector_import import made, send

NO_LIMITS: dict[str, Any] = {"max_queued": None, "max_running": None, "device_seconds_per_day": None}


def kept(api: Running) -> int:
    """Objects of uploads on the disk, whole or in the making, and rows for them; the shipped traits are not counted."""
    root = Path(urlsplit(api.settings.storage_url.get_secret_value()).path)
    files = sum(1 for folder in ("sha256", "staging") for _ in Path(root, folder).iterdir())
    with api.sessions() as session:
        rows = session.scalar(select(func.count()).select_from(BlobRow)) or 0
    assert files == rows, "an object without a row, or the other way round"
    return files


def limit(api: Running, owner: str, stored_bytes: int) -> None:
    """Sets the quota of stored bytes."""
    with api.sessions.begin() as session:
        put_quota(session, owner, {**NO_LIMITS, "stored_bytes": stored_bytes}, "test")


def trait(i: int, size: int = 2_000) -> dict[str, Any]:
    """A trait of about this many bytes, different for each number."""
    rows = {part: [f"{part} {word} {i} {'x' * (size // 4)}" for word in ("one", "two")] for part in ("positive", "negative")}
    return {**TRAIT, "name": f"trait{i}", **rows}


@pytest.mark.parametrize("stored_bytes", [0, 1_500], ids=["no quota", "not quite enough"])
def test_an_upload_that_a_quota_refuses_leaves_nothing_on_the_disk(api: Running, ada: httpx2.Client, stored_bytes: int) -> None:
    limit(api, "ada", stored_bytes)
    before = kept(api)
    for i in range(5):
        assert problem(ada.post("/v1/traits", json=trait(i)), 429)["code"] == "quota_stored_bytes"
        files = [
            ("files", (f"{part}.txt", f"a {part} {i}\nb {part} {'y' * 2_000}".encode())) for part in ("positive", "negative")
        ]
        files.append(("files", ("steering.json", b'["How?", "Why?"]')))
        assert problem(ada.post("/v1/traits", data={"name": "form"}, files=files), 429)["code"] == "quota_stored_bytes"
        assert problem(send(ada, made("gguf", *range(1, 8)), method=f"m{i}"), 429)["code"] == "quota_stored_bytes"
    assert kept(api) == before


def test_a_user_whose_quota_is_used_up_is_refused_before_the_body_is_sent(api: Running) -> None:
    """The answer comes when only the head was sent."""
    limit(api, "ada", 0)
    for path, size, media in (
        ("/v1/traits", 4_000_000, "application/json"),
        ("/v1/vectors", 60_000_000, "multipart/form-data; boundary=x"),
    ):
        head = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {api.key('ada')}", f"Content-Type: {media}"]
        with socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0), timeout=120) as client:
            client.sendall("\r\n".join([*head, f"Content-Length: {size}", "", ""]).encode())
            answer = b""
            while b"quota_stored_bytes" not in answer and (more := client.recv(4096)):  # the head may come before the body
                answer += more
        assert answer.startswith(b"HTTP/1.1 429"), answer
        assert b"quota_stored_bytes" in answer


def test_an_upload_that_would_go_below_the_free_space_mark_is_refused(
    api: Running, ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its stated length, or the largest that a body without one may have."""
    free = api.settings.min_free_bytes + 20_000
    monkeypatch.setattr(app.storage.space.shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    before = kept(api)
    assert ada.post("/v1/traits", json=trait(0)).status_code == 201
    body = problem(ada.post("/v1/traits", json=trait(1, 40_000)), 507)
    assert (body["code"], body["facts"]["free_bytes"]) == ("low_disk", free)
    assert problem(send(ada, made("gguf", *range(1, 8)) * 100), 507)["code"] == "low_disk"
    chunks = iter([json.dumps(trait(2)).encode()])
    headers = {"Content-Type": "application/json"}
    assert problem(ada.post("/v1/traits", content=chunks, headers=headers), 507)["code"] == "low_disk"
    assert kept(api) == before + 1


def test_an_upload_is_refused_for_the_disks_that_it_is_written_to_alone(
    api: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The data folder and the models of the hub may lie on full disks; large forms lie in the folder of temporary files while they are read."""
    objects, home, cache, spool = (tmp_path / name for name in ("objects", "home", "cache", "spool"))
    for folder in (objects, home, cache, spool):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    free = dict.fromkeys((objects, home, cache, spool), 1 << 40)
    monkeypatch.setattr(app.storage.space.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free[folder]}))
    given = {"storage_url": SecretStr(f"file://{objects}"), "home": home, "hub_cache": cache}
    local = api.settings.model_copy(update=given)
    elsewhere = local.model_copy(update={"storage_url": SecretStr("s3://bucket/x")})
    free |= {home: 0, cache: 0, spool: 1_000}
    for settings in (local, elsewhere):
        check_room(settings, 1_000)
        with pytest.raises(Problem, match=str(spool)):
            check_room(settings, 1_001)
    free |= {objects: 0, spool: 1 << 40}
    check_room(elsewhere, 1_000)
    with pytest.raises(Problem, match=str(objects)) as raised:
        check_room(local, 1_000)
    assert raised.value.facts["folder"] == str(objects)
    assert shortage(elsewhere) is not None, "new work is refused for every folder"


def test_uploads_that_are_refused_at_commit_are_removed_again(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve at once, and each fits alone: those that the last check refuses leave nothing, and the others are whole."""
    limit(api, "ada", 9_000)
    before = kept(api)
    answers = at_once(12, lambda i: ada.post("/v1/traits", json=trait(i)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {201, 429}, statuses
    assert kept(api) == before + statuses[201]
    for answer in answers:
        if answer.status_code == 201:
            assert ada.get(answer.json()["links"]["dataset.json"]).status_code == 200


def test_an_upload_that_fails_at_its_last_step_is_removed_again(
    api: Running, ada: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(api)

    def broken(*_: Any) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patched:
        patched.setattr(traits, "add", broken)
        assert ada.post("/v1/traits", json=trait(0)).status_code == 500
    assert kept(api) == before
    assert ada.post("/v1/traits", json=trait(0)).status_code == 201
    assert kept(api) == before + 1


def test_a_refused_upload_does_not_remove_equal_bytes_of_another(api: Running, ada: httpx2.Client) -> None:
    """Equal bytes of two users at the same time, one of whom may not keep them: the other's are there at the end."""
    limit(api, "ada", 100)
    with api.client("bob") as bob:
        for i in range(10):
            senders = [ada, bob, ada, bob]
            answers = at_once(4, lambda k, i=i, senders=senders: senders[k].post("/v1/traits", json=trait(i)))  # type: ignore[misc]
            assert {answer.status_code for answer in answers} <= {200, 201, 429}
            assert {answer.status_code for answer in answers} & {200, 201}
            found = bob.get(f"/v1/traits/trait{i}").json()
            assert bob.get(found["links"]["dataset.json"]).status_code == 200


def test_a_client_that_goes_away_leaves_a_whole_trait_or_nothing(
    api: Running, ada: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Half a body, and a whole one with an answer that the client never reads: what is on the disk at the end is a trait, or nothing."""
    before, key = kept(api), api.key("ada")
    data = json.dumps(trait(0, 70_000)).encode()  # of the longest prompts that are taken
    with sessions.begin() as session:
        session.execute(text("LOCK TABLE traits IN EXCLUSIVE MODE"))  # what would refer to the bytes waits
        for sent in (len(data) // 2, len(data)):
            with socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0)) as client:
                head = ["POST /v1/traits HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Length: {len(data)}"]
                client.sendall("\r\n".join([*head, "Content-Type: application/json", "", ""]).encode() + data[:sent])
                if sent == len(data):
                    until_one_waits(sessions)

    def whole() -> bool:
        with contextlib.suppress(AssertionError):  # an object that has no row yet
            return kept(api) == before + len(ada.get("/v1/traits?owner=ada").json()["items"])
        return False

    wait_until(whole)


def test_uploads_of_one_user_are_bounded_in_number_and_in_bytes(
    settings: Settings, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow senders of ada's hold her places; her next upload is refused when it has waited, and bob's is stored."""
    bounds = LimitSettings(uploads=3, uploads_bytes=100_000, turn_seconds=1)
    api = Running(settings.model_copy(update={"limit": bounds}), sessions)
    api.start()
    try:
        with contextlib.ExitStack() as stack:
            ada, bob = stack.enter_context(api.client("ada")), stack.enter_context(api.client("bob"))
            key = api.key("ada")

            def slow(size: int) -> socket.socket:
                """Its head is sent, and of its body nothing."""
                head = ["POST /v1/traits HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", "Content-Type: application/json"]
                client = stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0)))
                client.sendall("\r\n".join([*head, f"Content-Length: {size}", "", ""]).encode())
                return client

            held = api.context.uploads._places._held
            first = slow(98_000)
            wait_until(lambda: held["ada"] == 1)
            body = problem(ada.post("/v1/traits", json=trait(1)), 429)  # more bytes than are left to her
            assert (body["code"], body["facts"]["under_way"]) == ("too_many_at_once", 1)
            assert bob.post("/v1/traits", json=trait(1)).status_code == 201
            first.close()
            wait_until(lambda: held["ada"] == 0)
            assert ada.post("/v1/traits", json=trait(1)).status_code == 201
            for _ in range(3):
                slow(100)
            wait_until(lambda: held["ada"] == 3)
            answer = ada.post("/v1/traits", json=trait(2))
            assert problem(answer, 429)["facts"] == {"limit": 3, "under_way": 3, "waiting": 0}
            assert int(answer.headers["Retry-After"]) > 0
            assert bob.post("/v1/traits", json=trait(2)).status_code == 201
    finally:
        api.stop()


def test_a_download_goes_on_while_the_largest_uploads_are_read(settings: Settings, tmp_path: Path) -> None:
    """Eight traits of 4,000 texts of unique words at once by one user; another's download and the checks are served all the while."""
    with ApiProcess(settings, tmp_path) as service, service.client("ada") as ada, service.client("bob") as bob:
        words = [text[:1000] for text in unique_words()]
        bodies = [
            json.dumps(
                {"name": f"big{i}", "positive": words[:1999], "negative": words[1999:-2], "steering": {"questions": [f"{i}?"]}}
            )
            for i in range(8)
        ]
        small = bob.post("/v1/traits", json=TRAIT).json()["links"]["dataset.json"]
        before = service.memory()
        headers = {"Content-Type": "application/json"}
        began = time.monotonic()
        with asking(bob, small, "/livez", "/v1/jobs") as seen:
            answers = at_once(8, lambda i: ada.post("/v1/traits", content=bodies[i], headers=headers, timeout=170))
        whole = time.monotonic() - began
        assert Counter(answer.status_code for answer in answers).keys() <= {201, 429}
        assert any(answer.status_code == 201 for answer in answers)
        assert Counter(status for _, status, _ in seen) == {200: len(seen)}
        slowest = max(seconds for _, _, seconds in seen)
        assert slowest < max(10, whole / 2), f"{slowest:.1f} s of {whole:.1f} s, which it would take if it came after the uploads"
        assert service.memory() - before < 400 << 20, f"{(service.memory() - before) >> 20} MiB are left"


def test_waiting_uploads_are_refused_when_they_are_too_many(settings: Settings, sessions: sessionmaker[Session]) -> None:
    """At once, rather than after the patience of all that stand before them."""
    bounds = LimitSettings(uploads=1, turn_seconds=60)
    api = Running(settings.model_copy(update={"limit": bounds}), sessions)
    api.start()
    try:
        key = api.key("ada")
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", urlsplit(api.url).port or 0)))
                head = ["POST /v1/traits HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", "Content-Type: application/json"]
                client.sendall("\r\n".join([*head, "Content-Length: 100", "", ""]).encode())
            places = api.context.uploads._places
            wait_until(lambda: len(places._queue) == places._bounds.waiting)
            began = time.monotonic()
            with api.client("ada") as ada:
                assert problem(ada.post("/v1/traits", json=TRAIT), 429)["code"] == "too_many_at_once"
            assert time.monotonic() - began < 20, "it would wait for a place for 60 s"
        with api.client("ada") as ada:
            ends = time.monotonic() + 60
            while ada.post("/v1/traits", json=TRAIT).status_code == 429 and time.monotonic() < ends:
                time.sleep(0.2)
            assert ada.post("/v1/traits", json=TRAIT).status_code == 200
    finally:
        api.stop()


def test_busy_threads_of_uploads_do_not_delay_other_requests(api: Running, ada: httpx2.Client) -> None:
    """While every thread of the uploads' is busy, downloads and health checks are served."""
    link = ada.post("/v1/traits", json=TRAIT).json()["links"]["dataset.json"]
    free = threading.Event()
    for _ in range(8):
        api.context.uploads._threads.submit(free.wait)
    try:
        assert ada.get(link, timeout=120).status_code == 200
        assert ada.get("/readyz", timeout=120).status_code == 200
    finally:
        free.set()
