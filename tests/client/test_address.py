"""The client finds the service by itself, and gives the local key to the local service alone."""

import json
from pathlib import Path

import pytest

from binnacle import Client, NoService
from binnacle.address import find_address


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder whose service runs."""
    (tmp_path / "run.json").write_text(json.dumps({"pid": 1, "url": "http://127.0.0.1:8123"}))
    (tmp_path / "admin.key").write_text("local key\n")
    monkeypatch.setenv("BINNACLE_HOME", str(tmp_path))
    return tmp_path


def test_arguments_go_before_the_environment_and_that_before_the_data_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (find_address().url, find_address().key) == ("http://127.0.0.1:8123", "local key")
    monkeypatch.setenv("BINNACLE_URL", "http://lab:8000/")
    monkeypatch.setenv("BINNACLE_KEY", "lab key")
    assert (find_address().url, find_address().key) == ("http://lab:8000", "lab key")
    chosen = find_address("https://other", "other key")
    assert (chosen.url, chosen.key) == ("https://other", "other key")


def test_the_beginning_of_routes_is_no_part_of_the_address() -> None:
    """It was asked for /v1/v1/me."""
    assert find_address("http://lab:8000/binnacle/v1/").url == "http://lab:8000/binnacle"
    assert find_address("unix:/run/v1").url == "unix:/run/v1"


def test_the_local_key_goes_to_the_local_service_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINNACLE_URL", "http://lab:8000")
    assert find_address().key is None
    assert find_address("http://127.0.0.1:8123/").key == "local key"
    assert "local key" not in repr(find_address("http://127.0.0.1:8123"))


def test_a_service_without_keys_is_sent_the_secret_of_its_start(home: Path) -> None:
    """Its data folder may hold a key of the time when keys were on, which opens nothing now."""
    (home / "local.secret").write_text("bnl_secret")
    assert find_address().key == "bnl_secret"


def test_where_prepare_says_the_service_answers_is_asked_unless_one_runs_from_the_folder(home: Path) -> None:
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


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://lab", "http://", "unix:", "unix:relative"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(NoService, match="http://host:port"):
        find_address(url)


def test_an_empty_variable_is_an_unset_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a compose file or a CI job passes variables without a value."""
    monkeypatch.setenv("BINNACLE_URL", "")
    monkeypatch.setenv("BINNACLE_KEY", "")
    assert (find_address().url, find_address().key) == ("http://127.0.0.1:8123", "local key")
