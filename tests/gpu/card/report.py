"""card.md, for a person, and card.json, with the same in full."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.gpu.card import service
from tests.gpu.card.parts import Part
from tests.gpu.card.record import Setup
from tests.gpu.card.runner import Outcome

Entries = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Card:
    """Written to `folder` again after every part, so that a run that is killed leaves what it had."""

    folder: Path
    setup: Setup
    minutes: float
    date: str

    def write(self, outcomes: Sequence[Outcome], parts: Sequence[Part]) -> None:
        """Both files."""
        whole = {
            "summary": self.first_line(outcomes, parts),
            "date": self.date,
            "device": self.setup.device,
            "tiny": self.setup.tiny,
            "minutes": self.minutes,
            "parts": [asdict(outcome) for outcome in outcomes],
            "service_tests": service_tests(outcomes),
        }
        _replace(self.folder / "card.json", json.dumps(whole, indent=1) + "\n")
        _replace(self.folder / "card.md", self.markdown(outcomes, parts))

    def first_line(self, outcomes: Sequence[Outcome], parts: Sequence[Part]) -> str:
        """`N of M parts failed`, and which were not run."""
        failed = [outcome.part.name for outcome in outcomes if outcome.state == "failed"]
        ran = {outcome.part.name for outcome in outcomes if outcome.state != "not run"}
        missing = [part.name for part in parts if part.name not in ran]
        line = f"{len(failed)} of {len(parts)} parts failed"
        line += f" ({', '.join(failed)})" if failed else ""
        return line + (f"; not run: {', '.join(missing)}" if missing else "")

    def markdown(self, outcomes: Sequence[Outcome], parts: Sequence[Part]) -> str:
        """The page."""
        sizes = "tiny sizes, whose times mean nothing" if self.setup.tiny else "full sizes"
        lines = [
            self.first_line(outcomes, parts),
            "",
            f"{self.date}, {self.setup.device}, {sizes}, {self.minutes:g} minutes at most.",
            "",
        ]
        for outcome in outcomes:
            lines += _part(outcome)
        lines += ["## The service's tests in tests/gpu", "", "| test | state |", "|---|---|"]
        lines += [f"| {name} | {_cell(state)} |" for name, state in service_tests(outcomes).items()]
        return "\n".join(lines) + "\n"


def service_tests(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Each test of the service on a GPU, and whether it was run."""
    known = {entry["name"]: entry["state"] for outcome in outcomes for entry in outcome.entries if entry["kind"] == "listed"}
    return dict.fromkeys(service.names(), "not run: the part `service` did not come to it") | known


def _part(outcome: Outcome) -> list[str]:
    part, entries = outcome.part, outcome.entries
    took = f" in {outcome.seconds:.1f} s" if outcome.state != "not run" else ""
    lines = [f"## {part.name}: {outcome.state}{took}", "", f"{part.about[0].upper()}{part.about[1:]}.", ""]
    if outcome.reason:
        lines += [f"{outcome.reason[0].upper()}{outcome.reason[1:]}.", ""]
    lines += _table(("check", "found", "allowed", "", "why"), [_check_row(one) for one in entries if one["kind"] == "check"])
    figures = [(one["name"], _number(one["value"]), one["unit"], one["note"]) for one in entries if one["kind"] == "figure"]
    figures += [(one["name"], one["why"], "", "") for one in entries if one["kind"] == "absent"]
    lines += _table(("figure", "value", "unit", "note"), figures)
    for one in entries:
        if one["kind"] == "error":
            lines += [f"Failed in {one['name']}:", "", "```", one["traceback"].rstrip(), "```", ""]
    if outcome.output.strip():
        lines += ["Its output:", "", "```", outcome.output.strip(), "```", ""]
    return lines


def _check_row(one: dict[str, Any]) -> tuple[str, ...]:
    bounds = [f"at {word} {_number(one[word])}" for word in ("least", "most") if one[word] is not None]
    return one["name"], _number(one["value"]), ", ".join(bounds), "ok" if one["ok"] else "**FAILED**", one["why"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    made = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*made, *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows), ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _replace(path: Path, text: str) -> None:
    """Whole or not at all: the run may be killed at any moment."""
    beside = path.with_suffix(path.suffix + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
