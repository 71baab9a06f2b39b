"""The command line sets quotas, and shows usage, quotas and the reason why a job waits."""

from typing import Any

import pytest

from binnacle import BinnacleError, Client
from binnacle.cli.quotas import _limit, size
from tests.api import lives
from tests.api.conftest import Running
from tests.client.test_cli import Cli, Sessions, binnacle, environment, read

__all__ = ["binnacle", "environment"]


def test_setting_one_limit_keeps_the_others(binnacle: Cli, client: Client) -> None:
    read(binnacle("quotas", "set", "--everybody", "--queued", "50", "--json"))
    read(binnacle("quotas", "set", "ada", "--running", "2", "--bytes", "20G", "--json"))
    said = binnacle("quotas", "set", "ada", "--running", "unlimited").stdout
    assert said == "ada: jobs queued 50, jobs on devices unlimited, device seconds a day unlimited, bytes stored 20.0 GB\n"
    assert client.quota("ada")["said"] == {
        "max_queued": None,
        "max_running": "unlimited",
        "device_seconds_per_day": None,
        "stored_bytes": 20_000_000_000,
    }


def test_usage_is_shown_next_to_the_quota(binnacle: Cli, api: Running, client: Client, sessions: Sessions) -> None:
    client.calibrate("demo")
    lives.succeed(sessions, api.context.storage, lives.claim(sessions), data=b"x" * 1500)
    client.calibrate("demo")
    read(binnacle("quotas", "set", "ada", "--device-seconds", "3600", "--queued", "9", "--json"))
    said = binnacle("usage", "--user", "ada", "--by-day").stdout
    assert "1.5 kB" in said
    assert "1 of 9" in said
    assert "2 s of 60 min" in said
    assert client.usage()["items"][0]["stored_bytes"] == 1500


def test_a_waiting_job_is_listed_with_the_reason(binnacle: Cli, client: Client) -> None:
    jobs = [client.calibrate("demo"), client.calibrate("demo")]
    reason: dict[str, Any] = jobs[1]["waits_because"]
    assert reason["code"] == "no_worker_of_class"
    assert "no_worker_of_class" in binnacle("jobs", COLUMNS="250").stdout
    board = binnacle("status", COLUMNS="250").stdout
    assert all(job["id"] in board for job in jobs)
    assert "No worker of the class model is running." in board


@pytest.mark.parametrize(("said", "meant"), [("12", 12), ("500M", 500_000_000), ("unlimited", "unlimited"), ("default", None)])
def test_a_limit_is_a_number_unlimited_or_default(said: str, meant: object) -> None:
    assert _limit(said) == meant


@pytest.mark.parametrize("said", ["lots", "-1", "1.5", "20 G", ""])
def test_an_invalid_limit_is_refused_with_the_valid_forms(said: str) -> None:
    with pytest.raises(BinnacleError, match="is not a limit: give a number"):
        _limit(said)


def test_sizes_are_printed_with_decimal_units() -> None:
    assert [size(count) for count in (0, 999, 1500, 20e9)] == ["0 B", "999 B", "1.5 kB", "20.0 GB"]
