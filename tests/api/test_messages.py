"""How many messages a request sends to Postgres, counted by a relay between the two."""

import asyncio
from pathlib import Path

from app.settings import Settings
from tests.benchmarks.bench_requests import counted

MOST = {
    "submit a calibration": 8,
    "submit a generation": 8,
    "submit a steering": 15,
    "submit one with its extraction and calibration": 16,
    "GET a queued job": 2,
    "list 50 jobs": 3,
    "GET /v1/status": 4,
    "GET /v1/me": 0,
    "dry run of a study of 6 jobs": 19,
}


def test_a_request_costs_few_messages(settings: Settings, tmp_path: Path) -> None:
    found = asyncio.run(counted(settings, tmp_path))
    assert found.keys() == MOST.keys()
    assert {name: count for name, count in found.items() if count > MOST[name]} == {}
