"""The runner of the GPU card: whatever happens in a part, the other parts run, and the card reports what happened."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.arena import gone
from tests.gpu.card import part as part_module
from tests.gpu.card.parts import Part
from tests.gpu.card.record import Record, Setup, read_entries
from tests.gpu.card.report import Card
from tests.gpu.card.runner import Outcome, run_parts

pytestmark = pytest.mark.timeout(1200)  # the first test imports the libraries, which is slow on a busy machine
TINY = Setup("cpu", tiny=True)


def _part(name: str, *, limit: float = 60, seconds: float = 1, first: bool = False) -> Part:
    return Part(name, f"the part {name}", f"tests.card.card_faults:{name}", seconds, limit, first)


def _run(*parts: Part, setup: Setup = TINY, minutes: float = 5) -> list[Outcome]:
    return run_parts(parts, setup, minutes)


def _card(folder: Path, outcomes: list[Outcome], parts: list[Part]) -> tuple[str, dict[str, Any]]:
    Card(folder, TINY, 5, "2026-01-01").write(outcomes, parts)
    return (folder / "card.md").read_text(), json.loads((folder / "card.json").read_text())


def test_a_part_that_goes_wrong_in_any_way_is_a_failure_and_the_others_run(tmp_path: Path) -> None:
    wrong = ["raises", "raises_in_a_section", "out_of_bounds", "not_a_number", "killed", "exits"]
    parts = [_part("good"), *(_part(name) for name in wrong), _part("says_where")]
    outcomes = _run(*parts)
    assert [outcome.state for outcome in outcomes] == ["passed", *["failed"] * len(wrong), "passed"]
    page, whole = _card(tmp_path, outcomes, parts)
    assert page.splitlines()[0] == whole["summary"] == f"6 of 8 parts failed ({', '.join(wrong)})"
    by_name = {outcome.part.name: outcome for outcome in outcomes}
    assert by_name["raises"].entries[0]["name"] == "before it"
    assert "ValueError: a planned fault" in by_name["raises"].entries[1]["traceback"]
    assert 'raise ValueError("a planned fault")' in page
    assert [entry["name"] for entry in by_name["raises_in_a_section"].entries] == ["first", "after it"]
    assert by_name["killed"].reason == "killed by SIGSEGV"
    assert by_name["killed"].entries[0]["name"] == "before it"
    assert "card_faults.py" in by_name["killed"].output, "the stack at the fault"
    assert by_name["exits"].reason == "ended with exit code 7"
    assert "| speed | 12.5 | tokens/s | a \\| in a note |" in page
    assert page.count("**FAILED**") == 2


def test_a_part_that_hangs_is_killed_at_its_limit_with_what_it_started_and_leaves_its_stack() -> None:
    began = time.monotonic()
    hung, after = _run(_part("hangs", limit=6), _part("good"), setup=Setup("cpu", tiny=False))
    assert time.monotonic() - began < 60
    assert (hung.state, hung.reason) == ("failed", "killed: it had not ended after 6 s")
    assert "in hangs" in hung.output
    child = hung.entries[0]["value"]
    assert gone(child)
    assert after.state == "passed"


def test_a_part_that_would_exceed_the_time_left_is_not_run_and_named(tmp_path: Path) -> None:
    full = Setup("cpu", tiny=False)
    parts = [_part("good"), _part("raises", seconds=3000), _part("says_where")]
    outcomes = _run(*parts, setup=full, minutes=2)
    assert [outcome.state for outcome in outcomes] == ["passed", "not run", "passed"]
    assert outcomes[1].reason.startswith("it takes about 3000 s and ")
    page, _ = _card(tmp_path, outcomes, parts)
    assert page.splitlines()[0] == "0 of 3 parts failed; not run: raises"
    assert "## raises: not run" in page


def test_no_time_at_all_runs_nothing_and_names_everything(tmp_path: Path) -> None:
    parts = [_part("good"), _part("raises")]
    page, _ = _card(tmp_path, _run(*parts, minutes=0), parts)
    assert page.splitlines()[0] == "0 of 2 parts failed; not run: good, raises"


def test_no_part_runs_after_the_first_part_failed() -> None:
    outcomes = _run(_part("raises", first=True), _part("good"))
    assert [outcome.state for outcome in outcomes] == ["failed", "not run"]
    assert outcomes[1].reason == "raises failed, and without it nothing can be said"


def test_the_card_is_written_after_every_part_so_that_a_killed_run_leaves_what_it_had(tmp_path: Path) -> None:
    parts = [_part("good"), _part("raises")]
    card, lines = Card(tmp_path, TINY, 5, "2026-01-01"), []

    def written(outcomes: list[Outcome]) -> None:
        card.write(outcomes, parts)
        lines.append((tmp_path / "card.md").read_text().splitlines()[0])

    run_parts(parts, TINY, 5, on_outcome=written)
    assert lines == ["0 of 2 parts failed; not run: raises", "1 of 2 parts failed (raises)"]


def test_parts_run_in_processes_of_their_own() -> None:
    pids = {outcome.entries[0]["value"] for outcome in _run(_part("says_where"), _part("says_where"))}
    assert len(pids | {os.getpid()}) == 3


def test_a_part_starts_as_a_fresh_program_where_cuda_was_used_before_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA cannot be used in a fork of a process that has used it."""
    monkeypatch.setattr(part_module, "_cuda_was_used_before_the_fork", lambda: True)
    [outcome] = _run(_part("says_where"))
    assert outcome.state == "passed"
    assert "-m tests.gpu.card.part tests.card.card_faults:says_where --device cpu" in outcome.entries[1]["value"]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.jsonl")
    record.figure("whole", 1)
    with record.path.open("a") as file:
        file.write('{"kind": "figure", "na')
    assert [entry["name"] for entry in read_entries(record.path)] == ["whole"]


def test_a_part_can_be_run_by_hand() -> None:
    command = [sys.executable, "-m", "tests.gpu.card.part", "tests.card.card_faults:good", "--device", "cpu", "--tiny"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout.splitlines()[0])["name"] == "speed"
