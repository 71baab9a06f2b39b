"""binnacle.toml: what it sets, what goes before it, and what is refused."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, read_settings
from app.settings_file import apply, misspelt
from binnacle.errors import BinnacleError
from tests.forked import Forking

SECRET = "hunter2"


def applied(home: Path, text: str, mode: int = 0o600, **environment: str) -> dict[str, str]:
    """The environment once the file was applied to it."""
    path = home / "binnacle.toml"
    path.write_text(text)
    path.chmod(mode)
    given = {"BINNACLE_HOME": str(home), **environment}
    assert apply(Settings, environment=given) == path
    return given


def test_every_value_stands_in_for_its_variable_and_the_environment_goes_before(tmp_path: Path) -> None:
    text = 'auth = "off"\nmetrics_port = 9100\nstorage_url = "file:///x"\n[lease]\nttl = 90.5\n[limit]\nuploads = 7\n'
    given = applied(tmp_path, text, BINNACLE_METRICS_PORT="1")
    assert given["BINNACLE_AUTH"] == "off"
    assert given["STORAGE_URL"] == "file:///x"
    assert given["BINNACLE_LEASE_TTL"] == "90.5"
    assert given["BINNACLE_LIMIT_UPLOADS"] == "7"
    assert given["BINNACLE_METRICS_PORT"] == "1", "the environment goes before the file"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("lease_tll = 3", 0o600, "no setting lease_tll"),
        ("[lease]\ntll = 3", 0o600, "no setting lease.tll"),
        ("[leases]\n", 0o600, "no group [leases]"),
        ("[leases]\nttl = 3", 0o600, "The groups are database, lease, limit, retention, webhook"),
        (f'database_url = "postgresql://u:{SECRET}@h/d"', 0o644, "chmod 600"),
        (f'key_pepper = "{SECRET}"', 0o640, "key_pepper"),
        (f'key_pepper = {SECRET}"', 0o600, "not valid TOML"),
        ("threads = [1]", 0o600, "threads must be"),
    ],
)
def test_what_is_wrong_is_named_and_no_value_is_shown(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(BinnacleError) as raised:
        applied(tmp_path, text, mode)
    assert said in raised.value.detail
    assert SECRET not in raised.value.detail


def test_a_relative_path_means_the_same_file_to_child_processes_in_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text('hub_cache = "cache"')
    given = {"BINNACLE_CONFIG": "my.toml", "BINNACLE_HUB_TOKEN_FILE": "token"}
    apply(Settings, environment=given)
    monkeypatch.chdir("/")
    assert apply(Settings, environment=given) == tmp_path / "my.toml"
    assert (given["BINNACLE_HUB_CACHE"], given["BINNACLE_HUB_TOKEN_FILE"]) == (str(tmp_path / "cache"), str(tmp_path / "token"))


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert apply(Settings, environment={"BINNACLE_HOME": str(tmp_path)}) is None
    with pytest.raises(BinnacleError, match="The file does not exist"):
        apply(Settings, environment={"BINNACLE_CONFIG": str(tmp_path / "other.toml")})
    assert apply(Settings, environment={"BINNACLE_CONFIG": "", "BINNACLE_HOME": str(tmp_path)}) is None, "an empty name is none"


@pytest.mark.parametrize("command", [["up", "--port", "0"], ["worker"], ["doctor"]])
def test_a_command_with_a_data_folder_reads_the_file_that_lies_there(
    command: list[str], tmp_path: Path, forking: Forking
) -> None:
    named, usual = tmp_path / "named", tmp_path / "usual"
    for folder, text in ((named, "misspelt = 1\n"), (usual, "also_misspelt = 1\n")):
        folder.mkdir()
        (folder / "binnacle.toml").write_text(text)
    given = {name: value for name, value in os.environ.items() if not name.startswith("BINNACLE_")}
    given |= {"BINNACLE_HOME": str(usual)}
    whole = ["-m", "app.cli", *command, "--home", str(named)]
    status, out, err = forking.run(whole, env=given, folder=tmp_path)
    assert status != 0
    assert "There is no setting misspelt" in " ".join((out + err).split())


def test_a_data_folder_that_is_named_is_the_only_one_that_is_read(tmp_path: Path) -> None:
    """The settings are read again, without the option, by every later reader and child process."""
    named, usual = tmp_path / "named", tmp_path / "usual"
    for folder, text in ((named, "threads = 1\n"), (usual, "metrics_port = 9100\n")):
        folder.mkdir()
        (folder / "binnacle.toml").write_text(text)
    environment = {"BINNACLE_HOME": str(usual)}
    assert apply(Settings, named, environment) == apply(Settings, environment=environment) == named / "binnacle.toml"
    assert environment == {"BINNACLE_HOME": str(named), "BINNACLE_THREADS": "1"}


def test_the_server_reads_it_and_the_doctor_says_so(tmp_path: Path, forking: Forking) -> None:
    file = tmp_path / "binnacle.toml"
    file.write_text("[lease]\nttl = -1\n")
    given = {name: value for name, value in os.environ.items() if not name.startswith("BINNACLE_")}
    given |= {"BINNACLE_HOME": str(tmp_path), "DATABASE_URL": "postgresql://h/db"}

    def said(*command: str) -> str:
        status, out, err = forking.run(command, env=given, folder=tmp_path)
        printed = " ".join((out + err).split())
        assert status != 0
        assert "Traceback" not in printed
        return printed

    assert "BINNACLE_LEASE_TTL is not valid" in said("-m", "app.server", "--port", "0")
    assert "binnacle.toml" in said("-m", "app.cli", "doctor")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BINNACLE_RETENTION_JOBS_DAYS", "-1", "at least 0"),
        ("BINNACLE_WEBHOOK_ATTEMPTS", "0", "at least 1"),
        (
            "BINNACLE_LEASE_TTL",
            "12",
            "BINNACLE_LEASE_MARGIN is not valid. It must be less than two thirds of BINNACLE_LEASE_TTL",
        ),
        ("BINNACLE_METRICS_PORT", "70000", "65,535"),
        ("BINNACLE_MODEL_BUDGET_BYTES", "-1", "0"),
        ("BINNACLE_LIMIT_JOB_SECONDS", "0", "0"),
        ("DATABASE_URL", "mysql://h/d", "DATABASE_URL is not valid. "),
        ("BROKER_URL", "amqp://user:secret@h", "BROKER_URL is not valid. It must begin with redis://"),
        ("BROKER_URL", "redis://[bad", "BROKER_URL is not valid. Write it as redis://:PASSWORD@HOST:6379/0"),
        ("BROKER_URL", "redis://h/name", "Write it as redis://:PASSWORD@HOST:6379/0"),
        ("BROKER_URL", "redis://:se/cret@h", "as %40 for @, %2F for /"),
    ],
)
def test_an_invalid_variable_is_named_with_what_it_must_be(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINNACLE_HOME", str(tmp_path))
    monkeypatch.setenv(name, value)
    with pytest.raises(BinnacleError) as raised:
        read_settings()
    assert name in raised.value.detail
    assert said in raised.value.detail


def test_a_variable_that_is_never_read_is_told_with_the_one_that_was_probably_meant() -> None:
    given = {
        "BINNACLE_LIMIT_ROW_BYTES": "5",
        "DATABSE_URL": "x",
        "BINNACLE_LIMIT__ROWS_BYTES": "5",
        "BINNACLE_URL": "x",
        "PATH": "x",
    }
    said = list(misspelt(Settings, given | {"BINNACLE_OTHER": "1"}))
    assert [one.partition(" is not a setting and has no effect.")[::2] for one in said] == [
        ("BINNACLE_LIMIT_ROW_BYTES", " Did you mean BINNACLE_LIMIT_ROWS_BYTES?"),
        ("BINNACLE_OTHER", ""),
        ("DATABSE_URL", " Did you mean DATABASE_URL?"),
    ]


def test_a_setting_in_lower_case_is_the_same_to_every_reader(tmp_path: Path) -> None:
    """The settings took `binnacle_auth=off`, where `binnacle up` read BINNACLE_AUTH and announced a key that opened nothing."""
    given = {"binnacle_auth": "off", "binnacle_home": str(tmp_path), "database_url": "postgresql://h/low", "http_proxy": "x"}
    apply(Settings, environment=given)
    assert given == {
        "BINNACLE_AUTH": "off",
        "BINNACLE_HOME": str(tmp_path),
        "DATABASE_URL": "postgresql://h/low",
        "http_proxy": "x",
    }


def test_no_number_of_the_settings_may_be_negative() -> None:
    """Whatever is a number is a time, a size, a count or a port. The names are the fields', so that none is forgotten."""
    groups = [Settings, *(one.annotation for one in Settings.model_fields.values() if hasattr(one.annotation, "model_fields"))]
    for group in groups:
        numbers = [name for name, one in group.model_fields.items() if one.annotation in (int, float)]
        with pytest.raises(ValidationError) as raised:
            group(**dict.fromkeys(numbers, -1))
        assert {error["loc"][0] for error in raised.value.errors()} == set(numbers), group
