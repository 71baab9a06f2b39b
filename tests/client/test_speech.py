"""Errors on the command line name commands and options in place of routes and fields; with --json they stay as the API sent them."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.demo import ready
from binnacle.cli.live import remark
from binnacle.cli.models import report
from binnacle.cli.output import print_error
from binnacle.cli.speech import spoken
from binnacle.errors import BinnacleError, ServiceError

APP = Path(__file__).resolve().parents[2] / "app"
ROUTE = re.compile(r"\b(?:GET|POST|PATCH|PUT|DELETE) /v1/[^\s,;)\"'`]+")
NO_COMMAND = {"judges", "inspect"}
"""Routes that the command line has no command for."""


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("POST /v1/extractions first", "binnacle submit extract first"),
        ("cancel it first (POST /v1/jobs/job_1/cancel), or wait", "cancel it first (binnacle cancel job_1), or wait"),
        (
            "Its file is there later. GET /v1/jobs/job_1?wait=25 tells when.",
            "Its file is there later. binnacle watch job_1 tells when.",
        ),
        ("Name fewer layers (/layers) or set /budget.", "Name fewer layers (--layers) or set --budget."),
        (
            "are deleted: DELETE /v1/jobs/ID (DELETE /v1/jobs/ID?dry_run=true shows how much).",
            "are deleted: binnacle delete ID (binnacle delete ID --dry-run shows how much).",
        ),
        ("path.vector_id: The value must be an id", "vector: The value must be an id"),
        ("query.limit: The value must be", "limit: The value must be"),
        ("/methods/1: unknown", "--method (value 2): unknown"),
        ("/prompts/0/system_prompt is blank", "/prompts/0/system_prompt is blank"),
        ("the folder /model/name and https://host/layers", "the folder /model/name and https://host/layers"),
    ],
)
def test_routes_and_fields_become_commands_and_options(said: str, meant: str) -> None:
    assert spoken(said) == meant


def test_reasons_stored_with_a_job_or_a_model_name_commands(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"code": "internal_error", "detail": "Retry it: POST /v1/jobs/job_1/retry."}
    job: Any = {
        "state": "failed", "phase": "failed", "progress": {"done": 0, "total": 0, "unit": ""}, "queue_position": None, "eta_at": None,
        "waits_because": {"detail": "Cancel it: POST /v1/jobs/job_2/cancel."}, "attempt": 1, "losses": 0, "error": said,
    }  # fmt: skip
    assert remark(job, datetime.now(UTC)) == "Cancel it: binnacle cancel job_2, internal_error: Retry it: binnacle retry job_1."
    model: Any = {"name": "m", "state": "faulty", "facts": None, "fault": said}
    with pytest.raises(typer.Exit):
        report(model, as_json=False)
    assert "m cannot be used: internal_error: Retry it: binnacle retry job_1. It stays listed" in capsys.readouterr().err
    with pytest.raises(BinnacleError, match="binnacle retry job_1"):
        ready(model)


def test_every_route_that_an_error_names_has_its_command() -> None:
    """Reads the error sentences of the server's source, so a new route without a command fails here."""
    found = set()
    for path in APP.rglob("*.py"):
        if path.name.endswith("routes.py") or "cli" in path.parts:
            continue
        for line in path.read_text().splitlines():
            if ("detail" in line or 'f"' in line) and "idempotency(" not in line:
                found |= {one.rstrip(".") for one in ROUTE.findall(line)}
    left = {one for one in found if ROUTE.search(spoken(one.replace("{", "").replace("}", "").replace("job.id", "job_1")))}
    assert len(found) > 10
    assert {one for one in left if not NO_COMMAND & set(re.split(r"\W+", one))} == set()


def test_json_errors_keep_the_fields_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    error = ServiceError(
        422, {"code": "x", "detail": "Leave it out.", "errors": [{"pointer": "/layers/0", "detail": "Layer 9."}]}
    )
    print_error(error, as_json=False)
    assert capsys.readouterr().err == "error: x: Leave it out. (--layers (value 1): Layer 9.)\n"
    print_error(error, as_json=True)
    assert '"/layers/0"' in capsys.readouterr().err
