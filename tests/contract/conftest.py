"""Fixtures of the contract tests: one API process with short waits, and an administrator's client."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.settings import Settings
from tests.api.process import ApiProcess
from tests.api.standing import settings_at
from tests.contract.running import OWNER

SHORT = {"BINNACLE_LIMIT_WAIT_SECONDS": "0.05", "BINNACLE_LIMIT_STREAM_SECONDS": "0.05"}
"""Seconds. Schemathesis sends many long polls and streams, and would wait for each."""


@pytest.fixture
def settings(database_url: str, broker_url: str, broker_prefix: str, tmp_path: Path) -> Settings:
    """Settings of that process."""
    return settings_at(database_url, broker_url, broker_prefix, tmp_path)


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[ApiProcess]:
    """The API, with short waits and streams."""
    with ApiProcess(settings, tmp_path, **SHORT) as process:
        yield process


@pytest.fixture
def admin(api: ApiProcess) -> Iterator[httpx2.Client]:
    """A client with an administrator's key."""
    with api.client(OWNER, "admin") as client:
        yield client
