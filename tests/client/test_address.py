"""How the client finds the address and key of the service, and that the local key goes to the local service only."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from binnacle import Client, NoService
from binnacle.address import Address, find_address, naming
from binnacle.connection import Connection


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the files of a running service."""
    (tmp_path / "run.json").write_text(json.dumps({"pid": 1, "url": "http://127.0.0.1:8123"}))
    (tmp_path / "admin.key").write_text("local key\n")
    monkeypatch.setenv("BINNACLE_HOME", str(tmp_path))
    return tmp_path


def test_arguments_override_the_environment_which_overrides_the_data_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (find_address().url, find_address().key) == ("http://127.0.0.1:8123", "local key")
    monkeypatch.setenv("BINNACLE_URL", "http://lab:8000/")
    monkeypatch.setenv("BINNACLE_KEY", "lab key")
    assert (find_address().url, find_address().key) == ("http://lab:8000", "lab key")
    chosen = find_address("https://other", "other key")
    assert (chosen.url, chosen.key) == ("https://other", "other key")


def test_a_command_names_a_data_folder_unless_it_is_the_usual_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another terminal may lack the BINNACLE_HOME of this one."""
    assert naming(home) == f"BINNACLE_HOME={home} "
    assert naming(home / "my data") == f"BINNACLE_HOME='{home}/my data' "
    monkeypatch.setenv("HOME", str(home))
    assert naming(Path("~/.binnacle")) == naming(home / ".binnacle") == ""


def test_a_trailing_v1_is_dropped_from_the_address() -> None:
    """Or requests would go to /v1/v1/me."""
    assert find_address("http://lab:8000/binnacle/v1/").url == "http://lab:8000/binnacle"
    assert find_address("unix:/run/v1").url == "unix:/run/v1"


def test_the_local_key_goes_to_the_local_service_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINNACLE_URL", "http://lab:8000")
    assert find_address().key is None
    assert find_address("http://127.0.0.1:8123/").key == "local key"
    assert "local key" not in repr(find_address("http://127.0.0.1:8123"))


def test_a_service_without_keys_gets_the_secret_of_its_current_start(home: Path) -> None:
    """The data folder may also hold an admin.key from when keys were on; it opens nothing now."""
    (home / "local.secret").write_text("bnl_secret")
    assert find_address().key == "bnl_secret"


def test_the_url_that_prepare_wrote_is_used_unless_a_service_runs_from_the_folder(home: Path) -> None:
    (home / "url").write_text("http://127.0.0.1:8000\n")
    assert find_address().url == "http://127.0.0.1:8123"
    (home / "run.json").unlink()
    assert (find_address().url, find_address().key) == ("http://127.0.0.1:8000", "local key")
    assert find_address("http://lab:8000").key is None


def test_a_unix_socket_is_an_address(home: Path) -> None:
    found = find_address("unix:/run/api.socket")
    assert (found.socket, found.key) == ("/run/api.socket", None)
    assert find_address().socket is None


def test_no_service_anywhere_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoService, match="binnacle up"):
        Client(home=tmp_path)


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://lab", "http://", "unix:", "unix:relative", "http://lab?x=1", "http://lab#x", "http://me:key@lab"],
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(NoService, match="http://host:port"):
        find_address(url)


def test_an_empty_variable_counts_as_unset(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files and CI jobs pass variables without a value this way."""
    monkeypatch.setenv("BINNACLE_URL", "")
    monkeypatch.setenv("BINNACLE_KEY", "")
    assert (find_address().url, find_address().key) == ("http://127.0.0.1:8123", "local key")


@pytest.mark.parametrize("name", ["local.secret", "admin.key"])
def test_a_file_of_the_data_folder_that_is_not_utf_8_is_named(home: Path, name: str) -> None:
    """PowerShell's `>` writes UTF-16; a byte order mark in front of UTF-8 is no harm."""
    (home / name).write_bytes("a key".encode("utf-16"))
    with pytest.raises(NoService, match=f"{name} is not text in UTF-8"):
        find_address()
    (home / name).write_bytes("a key".encode("utf-8-sig"))
    assert find_address().key == "a key"


class Answers(BaseHTTPRequestHandler):
    """Redirects /to-bucket to the server that is `bucket`; answers everything else with its `name`."""

    def do_GET(self) -> None:
        """Answers a GET."""
        bucket = getattr(self.server, "bucket", "")
        self.server.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        self.send_response(307 if bucket else 200)
        self.send_header("Content-Length", "6" if not bucket else "0")
        if bucket:
            self.send_header("Location", bucket)
        self.end_headers()
        if not bucket:
            self.wfile.write(b"object")

    def address_string(self) -> str:
        """The client; a unix socket's has no address."""
        return "a client"


class OnSocket(UnixStreamServer):
    """Serves HTTP at a path."""

    def get_request(self) -> tuple[Any, Any]:
        """A connection; its client has no address."""
        return super().get_request()[0], ("", 0)


def test_a_redirect_of_a_service_at_a_unix_socket_leads_over_the_network_without_the_key(tmp_path: Path) -> None:
    """The request for the object went to the service again, through its socket."""
    with HTTPServer(("localhost", 0), Answers) as bucket, OnSocket(f"{tmp_path}/api", Answers) as service:
        vars(service).update(bucket=f"http://localhost:{bucket.server_port}/object", asked=[])
        vars(bucket).update(asked=[])
        for one in (bucket, service):
            threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            connection = Connection(Address(f"unix:{tmp_path}/api", "secret"), patience=1)
            assert connection.request("GET", "/v1/file").content == b"object"
            with connection.stream("/v1/file", headers={}) as response:
                assert response.read() == b"object"
            connection.close()
        finally:
            for one in (bucket, service):
                one.shutdown()
        assert vars(service)["asked"] == [("/v1/file", "Bearer secret")] * 2
        assert vars(bucket)["asked"] == [("/object", None)] * 2
