"""The API works behind a real nginx with TLS and the configuration of docs/nginx.conf; without keys it refuses a proxy."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.orm import Session, sessionmaker

from app.settings import LimitSettings, Settings
from tests.api.conftest import Running, submit
from tests.api.lives import claim, succeed
from tests.services import make_folder

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = (ROOT / "docs" / "nginx.conf").read_text()
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="NOT RUN: no nginx on this machine (apt install nginx-light)")
MEBI = 1 << 20


class Proxy:
    """An nginx on loopback in front of the API, with a self-signed `certificate`; `url` is https."""

    def __init__(self, api_url: str, port: int, folder: Path) -> None:
        self.url = f"https://localhost:{port}"
        self.certificate = folder / "binnacle.crt"
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
        command += ["-keyout", str(folder / "binnacle.key"), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        site = CONFIGURATION
        for documented, here in {
            "127.0.0.1:8000": api_url.removeprefix("http://"),
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "binnacle.lab": "localhost",
            "/etc/ssl/": f"{folder}/",
        }.items():
            assert documented in site
            site = site.replace(documented, here)
        (folder / "site.conf").write_text(site)
        places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        own = f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        (folder / "nginx.conf").write_text(f"{own}http {{\naccess_log off;\n{places}include {folder}/site.conf;\n}}\n")
        assert NGINX
        self.process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
        self._log = folder / "error.log"

    def client(self, key: str) -> httpx2.Client:
        trust = ssl.create_default_context(cafile=str(self.certificate))
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, verify=trust, timeout=120)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                with self.client("none") as client:
                    assert client.get("/livez").status_code == 200
                return
            except httpx2.TransportError:
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)


@pytest.fixture
def proxy(api: Running, unused_port: int) -> Iterator[Proxy]:
    folder = make_folder()
    running = Proxy(api.url, unused_port, folder)
    running.wait()
    yield running
    running.stop()
    shutil.rmtree(folder)


@pytest.fixture
def ada(api: Running, proxy: Proxy) -> Iterator[httpx2.Client]:
    """A client with ada's key that connects through the proxy."""
    with proxy.client(api.key("ada")) as client:
        yield client


@needs_nginx
def test_the_proxy_passes_events_on_as_they_happen(api: Running, ada: httpx2.Client) -> None:
    job = submit(ada)["id"]
    with ada.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        names = (line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: "))
        assert next(names) == "submitted"
        lease = claim(api.sessions)
        assert next(names) == "started", "before anything else happens: a buffer would hold it back until the stream ends"
        succeed(api.sessions, api.context.storage, lease)
        assert next(names) == "succeeded"
        assert list(names) == []


@needs_nginx
def test_a_long_poll_through_the_proxy_waits_for_a_change(api: Running, ada: httpx2.Client) -> None:
    job = submit(ada)["id"]
    seen = ada.get(f"/v1/jobs/{job}").headers["ETag"]
    happens = threading.Timer(3, lambda: claim(api.sessions))
    began = time.monotonic()
    happens.start()
    answer = ada.get(f"/v1/jobs/{job}?wait=50", headers={"If-None-Match": seen})
    assert answer.json()["state"] == "running"
    assert 2.5 < time.monotonic() - began < 40
    happens.join()


@needs_nginx
def test_the_proxy_keeps_etags_ranges_and_relative_locations(api: Running, ada: httpx2.Client) -> None:
    made = ada.post("/v1/calibrations", json={"model": "demo"})
    assert made.headers["location"].startswith("/v1/jobs/"), "relative, so that it is the proxy's"
    succeed(api.sessions, api.context.storage, claim(api.sessions))
    where = ada.get(made.headers["location"]).json()["artifacts"][0]["href"]
    whole = ada.get(where)
    part = ada.get(where, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, whole.content[2:6])
    assert ada.get(where, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304


@needs_nginx
@pytest.mark.parametrize(("megabytes", "stated"), [(100, True), (100, False), (10, True)])
def test_large_bodies_are_refused_with_a_problem_document(
    api: Running, proxy: Proxy, ada: httpx2.Client, megabytes: int, stated: bool
) -> None:
    """nginx refuses 100 MB, more than any route takes; the API refuses 10 MB, more than this route takes. `stated`: with Content-Length."""

    def body() -> Iterator[bytes]:
        for _ in range(megabytes):
            yield b" " * MEBI

    headers = {"Content-Type": "application/json", **({"Content-Length": str(megabytes * MEBI)} if stated else {})}
    try:
        answer = ada.post("/v1/calibrations", content=body(), headers=headers)
    except httpx2.WriteError:  # refused while it was still being sent
        pass
    else:
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "body_too_large"
    with proxy.client(api.key("ada")) as other:  # nginx may close the connection on which it refused a body
        assert other.get("/livez").status_code == 200


@needs_nginx
def test_the_command_line_needs_ssl_cert_file_for_a_self_signed_certificate(api: Running, proxy: Proxy) -> None:
    environment = os.environ | {"BINNACLE_URL": proxy.url, "BINNACLE_KEY": api.key("ada")}
    command = [sys.executable, "-m", "app.cli", "status"]
    told = subprocess.run(
        command, env=environment | {"SSL_CERT_FILE": str(proxy.certificate)}, capture_output=True, text=True, cwd=ROOT
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "keys on" in told.stdout
    began = time.monotonic()
    untold = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert untold.returncode == 1
    assert "untrusted_certificate" in untold.stderr
    assert "SSL_CERT_FILE" in untold.stderr
    assert time.monotonic() - began < 45, "it must not wait 60 s, as for an unreachable service"


def test_the_limits_in_nginx_conf_are_not_below_those_of_the_api() -> None:
    limit = LimitSettings()
    [size] = re.findall(r"client_max_body_size (\d+)m;", CONFIGURATION)
    [patience] = re.findall(r"proxy_read_timeout (\d+)s;", CONFIGURATION)
    assert int(size) * MEBI >= limit.upload_bytes
    assert int(patience) >= limit.wait_seconds + 10


DEFAULT = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    {places}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {upstream}; }}
    }}
}}
"""
"""A configuration without docs/nginx.conf: nginx then sends the upstream's name as Host, and no header that shows the proxy."""


@needs_nginx
def test_without_keys_a_proxy_with_default_headers_gets_nothing(
    settings: Settings, sessions: sessionmaker[Session], unused_port: int
) -> None:
    keyless = Running(settings.model_copy(update={"auth": "off"}), sessions)
    keyless.start()
    folder = make_folder()
    places = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    text = DEFAULT.format(folder=folder, port=unused_port, upstream=keyless.url, places=places)
    (folder / "nginx.conf").write_text(text)
    assert NGINX
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{unused_port}", transport=httpx2.HTTPTransport(retries=5), timeout=120
        ) as world:
            assert world.get("/livez").status_code == 200, "it is the server that answers"
            asked = [
                world.get("/v1/me"),
                world.get("/v1/jobs"),
                world.post("/v1/keys", json={"owner": "mallory", "role": "admin"}),
                world.post("/v1/models", json={"name": "m", "source": "/etc"}),
            ]
        assert [answer.status_code for answer in asked] == [401] * 4
    finally:
        process.terminate()
        process.wait(120)
        keyless.stop()
        shutil.rmtree(folder)
