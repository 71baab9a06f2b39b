"""Numbers on pages and in reports are rounded to the digits asked for, have no exponent unless they are huge, and no zero is negative."""

import io
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from rich.console import Console

from app.calibrations.limits import arithmetic
from app.calibrations.schemas import CalibrationRequest
from app.devices.schemas import HoldOut
from app.pages.answers import calibration
from app.pages.devices import holds_in_words
from app.pages.plots.heat import heat
from app.pages.results.study import grid_of
from app.pages.wording import interval, number, percent, points, whole
from app.status.schemas import WorkerOut
from binnacle.cli.tables import _cell, study_report
from binnacle.words.counting import counted
from binnacle.words.rounding import limit, limits
from tests.reports.gathering import gathered
from workers.reports.table import Column, cell
from workers.reports.tables.severity import severity


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (99.4, 2, "99"),
        (99.5, 2, "100"),
        (99.96, 3, "100"),
        (999.6, 3, "1,000"),
        (-99.7, 2, "-100"),
        (12345.6, 3, "12,346"),
        (0.25, 3, "0.25"),
    ],
)
def test_a_number_that_is_rounded_up_gets_no_exponent(value: float, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


def test_a_cell_of_a_heat_map_shows_a_score_near_a_hundred() -> None:
    figure = heat("Scores", "", {("2", "0.5"): 99.6}, ["2"], ["0.5"], "dose", ends=(0.0, 100.0))
    assert figure is not None
    assert ">100</text>" in figure.drawing


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234.56, "1,235"), (9999.6, "10,000"), (16_000.4, "16,000"), (1.23456, "1.235"), (20_000, "20,000"), (5.54e34, "5.54e+34")],
)
def test_a_ratio_of_a_report_gets_an_exponent_only_beyond_the_digits_of_a_float(value: float, shown: str) -> None:
    assert cell(Column("ratio", "ratio", "number"), {"ratio": value}) == shown


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("number", [1.23456, 2.0], "1.235, 2"),
        ("number", [None, 2.0], "–, 2"),
        ("share", [0.5, None], "50.0 %, –"),
        ("dims", [3, 447], "3, 447"),
        ("number", [], "none"),
    ],
)
def test_several_values_of_a_cell_are_each_formatted_as_one(kind: str, values: list[float | None], shown: str) -> None:
    assert cell(Column("c", "coefficient", kind), {"c": values}) == shown


@pytest.mark.parametrize("value", [-0.0, -1e-4])
def test_nothing_is_shown_as_minus_zero(value: float) -> None:
    """A limit that is not 0 has digits enough to differ from it."""
    row = {"gain": value, "gain_low": value, "gain_high": value}
    shown = [cell(Column("gain", "gain", kind), row) for kind in ("points", "share")]
    shown += [points(value), interval(value, value), whole(value), percent(-0.0), number(-0.0), _cell({"delta": value}, "delta")]
    assert not [text for text in shown if re.search(r"[-\N{MINUS SIGN}]0(\.0+)?(?!\.?\d)", text)], shown


@pytest.mark.parametrize(
    ("value", "stored", "shown", "on_a_page"),
    [
        (1e-9, 0.0, "+0.0", "0"),
        (-1e-9, 0.0, "+0.0", "0"),
        (10 + 4e-9, 10.0, "+10.0", "+10"),
        (1e-8, 1e-8, "+0.00000001", "+0.00000001"),
        (9.99999998, 9.99999998, "+9.99999998", "+9.99999998"),
        (9.99500000001, 9.995, "+9.995", "+9.995"),
        (3.14159, 3.14, "+3.1", "+3.1"),
    ],
)
def test_a_limit_that_is_a_margin_at_8_decimals_counts_as_it_in_files_reports_and_pages(
    value: float, stored: float, shown: str, on_a_page: str
) -> None:
    """Files kept 0.0 for 1e-9, and reports showed a zero of seven digits."""
    assert limit(value) == stored
    assert limits(value, value) == f"[{shown}, {shown}]"
    assert interval(value, value) == f" [{on_a_page}, {on_a_page}]"


def test_every_signed_number_is_formatted_without_a_negative_zero() -> None:
    """`z` in a format turns -0.0, also after rounding, into 0.0."""
    here = Path(__file__).parents[2]
    sources = [path for folder in ("app", "binnacle", "tools", "workers") for path in (here / folder).rglob("*.py")]
    assert len(sources) > 400
    lines = [
        f"{path.name}: {line.strip()}"
        for path in sources
        for line in path.read_text().splitlines()
        if re.search(r":\+[.\dg]", line)
    ]
    assert lines == []


def test_a_count_of_one_is_singular() -> None:
    assert [counted(count, "held-out question") for count in (0, 1, 2000)] == [
        "0 held-out questions", "1 held-out question", "2,000 held-out questions",
    ]  # fmt: skip
    one = CalibrationRequest(model="demo", prompts=["a"], max_new_tokens=1)
    assert arithmetic(one) == "1 prompt x 1 new token = 1 generated token"


def _held(job_class: str, reason: str, *, mode: Literal["paused", "draining"] = "paused", alive: bool = True) -> WorkerOut:
    """A held worker as the service describes it."""
    hold = HoldOut(mode=mode, reason=reason, by="ada", since=datetime(2026, 1, 1, tzinfo=UTC), until=None)
    about: Any = {"device": "cpu", "host": "here", "version": "1", "models": [], "memory": {}, "busy_with": None, "blocked": None}
    return WorkerOut(id=reason, job_class=job_class, alive=alive, seen_seconds_ago=1, hold=hold, **about)


def test_only_holds_of_running_workers_that_could_run_the_job_are_its_reason() -> None:
    workers = [
        _held("light", "disk swap", mode="draining"),
        _held("model", "driver update"),
        _held("model", "card was sold", alive=False),
    ]
    assert holds_in_words(workers, "light") == "Drained by ada: disk swap. The job starts once a worker is resumed."
    queues: tuple[Literal["model", "generation"], ...] = ("model", "generation")
    for queue in queues:
        assert holds_in_words(workers, queue) == "Paused by ada: driver update. The job starts once a worker is resumed."


def test_a_ratio_that_misses_the_limit_of_its_verdict_is_not_shown_as_that_limit() -> None:
    """In the report's table, the page's, the tables of the command line, and the sentence of a calibration."""
    found = gathered({})
    found.calibrations["m"]["severity"]["verdict"] = "mild"
    found.calibrations["m"]["severity"]["ratios"]["ratio_to_median"] = 99.997
    table = severity(found, {})
    assert "99.997" in [text for text, _ in table.cells()[0]]
    shown = grid_of(table.to_dict(), "m")
    assert shown is not None
    assert "99.997" in shown.rows[0]
    printed = io.StringIO()
    tables: Any = {"tables": [table.to_dict()], "recommendations": []}
    Console(file=printed, width=200).print(study_report(tables))
    assert "ratio_to_median 99.997" in printed.getvalue()
    facts: Any = {"verdict": "none", "dominant_dim": 7, "ratios": {"ratio_to_median": 9.998}}
    assert "is 9.998 times the median" in calibration(facts, None, None).sentence
