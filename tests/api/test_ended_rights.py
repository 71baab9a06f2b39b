"""Long polls, streams and downloads end within five seconds when the right to them ends: by key, user, group or the job's visibility."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.jobs.waiting import Wakeups
from tests.api.conftest import Running, submit
from tests.api.lives import claim, succeed
from tests.api.test_polling import wait_until

PROMISED = 5.0
"""Seconds that docs/access.md promises."""
BUSY = 25.0
"""Seconds more on a busy machine."""
WAIT = 60
"""Seconds of a long poll, and a stream lasts ten minutes: what does not end with the right ends long after PROMISED + BUSY."""
BIG = 64 << 20
"""Bytes of a file that is still being read after PROMISED seconds."""


@dataclass(frozen=True)
class Shared:
    """A job of ada that one colleague sees through a group. Each change has its own, so that one wait serves all changes."""

    colleague: str
    group: str
    job: str


Change = Callable[[httpx2.Client, httpx2.Client, Shared], httpx2.Response]


def _revoke(admin: httpx2.Client, _ada: httpx2.Client, it: Shared) -> httpx2.Response:
    [key] = admin.get("/v1/keys", params={"owner": it.colleague}).json()["items"]
    return admin.post(f"/v1/keys/{key['id']}/revoke")


CHANGES: dict[str, tuple[Change, int]] = {
    "the key is revoked": (_revoke, 401),
    "the user is disabled": (lambda admin, _ada, it: admin.patch(f"/v1/users/{it.colleague}", json={"disabled": True}), 401),
    "the user leaves the group": (
        lambda admin, _ada, it: admin.delete(f"/v1/groups/{it.group}/members/{it.colleague}"), 404,
    ),
    "the group is deleted": (lambda admin, _ada, it: admin.delete(f"/v1/groups/{it.group}"), 404),
    "the job is not shared": (lambda _admin, ada, it: ada.patch(f"/v1/jobs/{it.job}", json={"visibility": "private"}), 404),
}  # fmt: skip


class Asking(threading.Thread):
    """A long request in a thread of its own: `result` is what `how` returned, or the name of its error; `ended` is when."""

    def __init__(self, how: Callable[[httpx2.Client], Any], client: httpx2.Client) -> None:
        super().__init__()
        self._how, self._client = how, client
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._how(self._client)
        except httpx2.HTTPError as error:
            self.result = type(error).__name__
        self.ended = time.monotonic()


@pytest.fixture
def carl(api: Running) -> Any:
    """A colleague of ada's, in the group `interp`."""
    api.group("interp", "ada", "carl")
    with api.client("carl") as client:
        client.timeout = 120
        yield client


@pytest.fixture
def shared(api: Running, ada: httpx2.Client) -> Iterator[dict[str, tuple[Shared, httpx2.Client]]]:
    """For each change a shared job, and its colleague's client."""
    with ExitStack() as clients:
        made = {}
        for number, what in enumerate(CHANGES):
            colleague, group = f"carl{number}", f"group{number}"
            api.group(group, "ada", colleague)
            job = submit(ada, visibility="group", group=group, name=what)["id"]
            client = clients.enter_context(api.client(colleague))
            client.timeout = 120
            made[what] = Shared(colleague, group, job), client
        yield made


def test_a_long_poll_and_a_stream_end_with_the_right_to_the_job(
    api: Running, admin: httpx2.Client, ada: httpx2.Client, shared: dict[str, tuple[Shared, httpx2.Client]]
) -> None:
    def poll(client: httpx2.Client, job: str) -> int:
        return client.get(f"/v1/jobs/{job}", params={"wait": WAIT}).status_code

    def stream(client: httpx2.Client, job: str) -> str:
        with client.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as answer:
            return [line for line in answer.iter_lines() if line.startswith("event:")][-1]

    asking = {
        what: [Asking(lambda client, how=how, job=it.job: how(client, job), client) for how in (poll, stream)]  # type: ignore[misc]
        for what, (it, client) in shared.items()
    }
    wait_until(lambda: api.context.part(Wakeups).watched() == 2 * len(shared))
    changed = {}
    for what, (it, _) in shared.items():
        assert CHANGES[what][0](admin, ada, it).status_code < 300, what
        changed[what] = time.monotonic()
    for what, both in asking.items():
        for one in both:
            one.join(WAIT + 60)
        assert [one.result for one in both] == [CHANGES[what][1], "event: reconnect"], what
        assert max(one.ended for one in both) - changed[what] < PROMISED + BUSY, what


def test_a_poll_under_a_key_that_is_remembered_but_revoked_does_not_begin(
    api: Running, admin: httpx2.Client, carl: httpx2.Client, ada: httpx2.Client
) -> None:
    """The keyring may know the key for five seconds more; the wait must not be added to them."""
    job = submit(ada, visibility="group", group="interp")["id"]
    assert carl.get(f"/v1/jobs/{job}").status_code == 200
    _revoke(admin, ada, Shared("carl", "interp", job))
    asked = time.monotonic()
    assert carl.get(f"/v1/jobs/{job}", params={"wait": WAIT}).status_code == 401
    assert time.monotonic() - asked < PROMISED + BUSY


def test_jobs_that_follow_a_study_wake_those_who_wait_for_them(api: Running, ada: httpx2.Client, carl: httpx2.Client) -> None:
    body = {
        "models": ["demo"],
        "traits": ["refusal"],
        "layers": [2],
        "methods": ["mean_diff"],
        "visibility": "group",
        "group": "interp",
    }
    study = ada.post("/v1/studies", json=body).json()
    [node, *_] = ada.get(f"/v1/studies/{study['id']}").json()["nodes"].values()
    poll = Asking(lambda client: client.get(f"/v1/jobs/{node['job']}", params={"wait": WAIT}).status_code, carl)
    wait_until(lambda: api.context.part(Wakeups).watched() == 1)
    ada.patch(f"/v1/jobs/{study['id']}", json={"visibility": "private"})
    changed = time.monotonic()
    poll.join(WAIT + 60)
    assert poll.result == 404
    assert poll.ended - changed < 2 + BUSY


def test_a_download_is_cut_with_the_right_to_the_file(
    api: Running,
    admin: httpx2.Client,
    ada: httpx2.Client,
    shared: dict[str, tuple[Shared, httpx2.Client]],
    sessions: sessionmaker[Session],
) -> None:
    for _ in CHANGES:
        succeed(sessions, api.context.storage, claim(sessions), data=bytes(BIG))
    hurry, begun = threading.Event(), threading.Semaphore(0)

    def read(client: httpx2.Client, job: str) -> int:
        got = 0
        with client.stream("GET", f"/v1/jobs/{job}/artifacts/calibration.json") as answer:
            assert answer.status_code == 200
            begun.release()
            for piece in answer.iter_raw(1 << 16):
                got += len(piece)
                hurry.wait(0.04)  # 41 s in all, longer than PROMISED + BUSY
        return got

    downloads = {
        what: Asking(lambda client, job=it.job: read(client, job), client)  # type: ignore[misc]
        for what, (it, client) in shared.items()
    }
    assert all(begun.acquire(timeout=60) for _ in downloads), "every download has begun"
    for what, (it, _) in shared.items():
        assert CHANGES[what][0](admin, ada, it).status_code < 300, what
    ends = time.monotonic() + PROMISED + BUSY
    for download in downloads.values():
        download.join(max(0, ends - time.monotonic()))
    hurry.set()
    for what, download in downloads.items():
        download.join(120)
        assert download.result == "RemoteProtocolError", f"{what}: less came than was promised"


def test_a_download_goes_on_while_nothing_changes(
    api: Running, ada: httpx2.Client, carl: httpx2.Client, sessions: sessionmaker[Session]
) -> None:
    """Also after the right to it was checked several times."""
    job = submit(ada, visibility="group", group="interp")["id"]
    succeed(sessions, api.context.storage, claim(sessions), data=bytes(BIG))
    began, got = time.monotonic(), 0
    with carl.stream("GET", f"/v1/jobs/{job}/artifacts/calibration.json") as answer:
        for piece in answer.iter_raw(1 << 16):
            got += len(piece)
            if time.monotonic() - began < 6:
                time.sleep(0.02)
    assert got == BIG
