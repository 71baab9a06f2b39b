"""A server without keys (`BINNACLE_AUTH=off`): a secret or a private socket takes their place, and it makes no key that would outlast it."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx2
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from app.auth.models import ApiKey
from app.server import make_server
from app.settings import Settings
from binnacle import Client, ServiceError
from tests.api.conftest import PEPPER, Running
from tests.api.test_access import PUBLIC, routes
from tests.services import make_folder

ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.fixture
def keyless(settings: Settings, sessions: sessionmaker[Session]) -> Iterator[Running]:
    """The application without keys, on loopback."""
    running = Running(settings.model_copy(update={"auth": "off"}), sessions)
    running.start()
    running.add_model()
    yield running
    running.stop()


@pytest.fixture
def holder(keyless: Running) -> Iterator[httpx2.Client]:
    """A client with the secret of this start."""
    secret = keyless.context.settings.local_secret.get_secret_value()
    with httpx2.Client(base_url=keyless.url, headers={"Authorization": f"Bearer {secret}"}, timeout=120) as client:
        yield client


def through_nginx(url: str, method: str, path: str) -> str:
    """The head of the answer to what nginx's `proxy_pass` sends by default: HTTP/1.0, the upstream's own name as Host, nothing forwarded."""
    host, port = url.removeprefix("http://").split(":")
    body = b'{"owner": "mallory", "role": "admin"}' if method in {"POST", "PUT", "PATCH"} else b""
    typed = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    head = f"{method} {path} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n{typed}User-Agent: curl/8\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.sendall(head.encode() + body)
        return connection.recv(4096).decode()


def test_requests_that_a_proxy_forwards_without_saying_so_are_refused(keyless: Running, sessions: sessionmaker[Session]) -> None:
    served = routes(keyless.settings)
    assert len(served) > 50
    for method, path in served:
        if path not in PUBLIC and method != "HEAD":
            assert through_nginx(keyless.url, method, path).split()[1] == "401", f"{method} {path}"
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 0


def test_the_secret_is_accepted_and_no_keys_are_made(holder: httpx2.Client, sessions: sessionmaker[Session]) -> None:
    assert holder.get("/v1/status").json()["auth"] == "off"
    assert holder.get("/v1/me").json()["role"] == "admin"
    assert holder.post("/v1/calibrations", json={"model": "demo"}).status_code == 202
    made = holder.post("/v1/keys", json={"owner": "mallory", "role": "admin"})
    rotated = holder.post("/v1/keys/Xk3v9QaZ/rotate", json={})
    assert [(answer.status_code, answer.json()["code"]) for answer in (made, rotated)] == [(409, "auth_off")] * 2
    assert "BINNACLE_AUTH=on" in made.json()["detail"]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(ApiKey)) == 0


def test_nothing_but_the_secret_is_accepted(keyless: Running, holder: httpx2.Client) -> None:
    secret = holder.headers["Authorization"].removeprefix("Bearer ")
    assert len(secret) > 40
    for shown in (
        "",
        "Bearer",
        f"Bearer {secret[:-1]}",
        f"Bearer {secret}x",
        f"Basic {secret}",
        "Bearer \u00e9",
        f"Bearer {keyless.key('ada')}",
    ):
        refused = httpx2.get(f"{keyless.url}/v1/jobs", headers=[(b"Authorization", shown.encode())], timeout=120)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated"), shown
        assert "BINNACLE_AUTH=off" in refused.json()["detail"]
    assert holder.get(f"/v1/jobs?key={secret}").json()["code"] == "key_in_address"


def test_a_page_in_a_browser_gets_nothing_even_if_it_had_the_secret(keyless: Running, holder: httpx2.Client) -> None:
    """Rebinding gives a page's own name as Host; a cross-site post gives its Origin, or a type of body that needs no preflight."""
    port = keyless.url.rsplit(":", 1)[1]
    same = holder.post("/v1/calibrations", json={"model": "demo"}, headers={"Origin": keyless.url})
    assert same.status_code == 202
    rebound = holder.get("/v1/jobs", headers={"Host": f"evil.example:{port}"})
    crossed = holder.post("/v1/calibrations", json={"model": "demo"}, headers={"Origin": "http://evil.example"})
    assert [(answer.status_code, answer.json()["code"]) for answer in (rebound, crossed)] == [(403, "auth_off")] * 2
    for simple in ("text/plain", "application/x-www-form-urlencoded", None):
        headers = {} if simple is None else {"Content-Type": simple}
        assert holder.post("/v1/calibrations", content=b'{"model": "demo"}', headers=headers).status_code == 415
    for name in ("Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"):
        proxied = holder.get("/v1/jobs", headers={name: "10.0.0.7"})
        assert (proxied.status_code, proxied.json()["code"]) == (403, "auth_off"), name


def test_an_address_that_others_can_reach_and_a_secret_that_can_be_guessed_are_refused(settings: Settings) -> None:
    off = settings.model_copy(update={"auth": "off"})
    with pytest.raises(ValueError, match="needs a loopback address"):
        make_server(off, "0.0.0.0", 0)
    with pytest.raises(ValueError, match="needs a loopback address"):
        make_server(off, "nosuchhost.invalid", 0)
    with pytest.raises(ValueError, match="has 6 characters and needs at least 32"):
        make_server(off.model_validate(off.model_dump() | {"local_secret": "secret"}), "127.0.0.1", 0)


class Started:
    """`python -m app.server` without keys, and what it printed."""

    def __init__(self, settings: Settings, log: Path, *arguments: str, **environment: str) -> None:
        given = {
            name.upper(): getattr(settings, name).get_secret_value() for name in ("database_url", "broker_url", "storage_url")
        }
        given |= {"BINNACLE_AUTH": "off", "BINNACLE_KEY_PEPPER": PEPPER, "BINNACLE_BROKER_PREFIX": settings.broker_prefix}
        self.log = log
        with log.open("wb") as out:
            command = [sys.executable, "-m", "app.server", *arguments]
            self.process = subprocess.Popen(command, cwd=ROOT, env=os.environ | given | environment, stdout=out, stderr=out)

    def printed(self, text: str, seconds: float = 60) -> str:
        """What it printed, once `text` is in it."""
        deadline = time.monotonic() + seconds
        while text not in (seen := self.log.read_text()):
            assert self.process.poll() is None, seen
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        return seen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(120)
        finally:
            self.process.kill()


def test_a_start_on_loopback_prints_a_secret_of_its_own(settings: Settings, tmp_path: Path, unused_port: int) -> None:
    with Started(settings, tmp_path / "log", "--port", str(unused_port)) as started:
        secret = started.printed("Application startup complete").split("BINNACLE_KEY=")[1].split()[0]
        with Client(f"http://127.0.0.1:{unused_port}", secret) as client:
            assert client.status()["auth"] == "off"
    assert started.log.read_text().count(secret) == 1
    with Started(settings, tmp_path / "log", "--host", "0.0.0.0") as exposed:
        assert exposed.process.wait(120) == 2
    assert "needs a loopback address" in exposed.log.read_text()


def test_on_a_unix_socket_the_own_account_needs_no_secret_and_no_other_account_gets_in(settings: Settings) -> None:
    folder = make_folder()
    folder.chmod(0o755)
    path = folder / "api.socket"
    with socket.socket(socket.AF_UNIX) as left:  # by a server that was killed
        left.bind(str(path))
    with Started(settings, folder / "log", "--socket", str(path)) as started:
        assert "BINNACLE_KEY=" not in started.printed("Application startup complete")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Client(f"unix:{path}") as client:
            assert client.me()["role"] == "admin"
            with pytest.raises(ServiceError, match="auth_off"):
                client.admin.create_key("mallory", role="admin")
        with Started(settings, folder / "twin", "--socket", str(path)) as twin:
            assert twin.process.wait(120) == 2
        assert "another server listens" in twin.log.read_text()
        if os.geteuid() == 0:
            code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
            command = ["/usr/bin/env", "python3", "-c", code]
            other = subprocess.run(command, user=NOBODY, capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
            assert "PermissionError" in other.stderr
    shutil.rmtree(folder)
