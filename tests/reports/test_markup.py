"""Texts of users, models and judges stay texts in reports and sheets, never an element, a link or a formula, and can be read back."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.studies.schemas import LabelsIn
from binnacle import BinnacleError
from binnacle.cli.studies import read_labels
from binnacle.words.sheets import inert, restored
from tests.reports.gathering import STUDY, gathered, summary
from tests.reports.test_document import GAINS, TIES
from workers.reports.document import build
from workers.reports.labelling import Text, _text, agreed, sheet
from workers.reports.table import escaped

NUMBER = re.compile(r"[0-9]+(e[0-9]+)?")
MARKUP = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![a](http://x.example/a)", "**b** _i_ `c`",
          "| cell | cell |", "a\n# heading\n- item", "&lt;b&gt; &#60;", "\x1b[31m\u202e\u009b", "<!--", "~~gone~~", "\\<b>")  # fmt: skip
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\n=1", "\r\n=1", "\u00a0=1", "\u200b=1", "\ufeff=1", "\u3000=1", "＝1+1",
            "＋1", "－1", "＠x",
            " ＝1", "'=1", "''=1", "\x0b=1", "\x00=1", "\tx", "\rx")  # fmt: skip


def hostile_report(text: str) -> Any:
    """A report with this text wherever a user's or a model's words stand."""
    number = {
        "trait": text,
        "method": text,
        "position": text,
        "value": 1.0,
        "coefficient": None,
        "definition": text,
        "source": text,
    }
    missing = [{"node": text, "kind": "steer", "state": "failed", "reason": text}]
    study = STUDY | {"models": [text], "traits": [text], "published": [number | {"model": text}]}
    return build(study, gathered({text: summary(GAINS, TIES)}, model=text, missing=missing))


@pytest.mark.parametrize("text", MARKUP)
def test_no_text_becomes_markup_in_the_markdown_report(text: str) -> None:
    """Renderers differ; an element, a link, an image, a cell and a line must not even be written."""
    plain, found = hostile_report("plain").to_markdown(), hostile_report(text).to_markdown()
    assert "<" not in found
    assert not any(mark in found for mark in ("\x1b", "\u202e", "\u009b"))
    assert len(found.splitlines()) == len(plain.splitlines())
    for one, other in zip(plain.splitlines(), found.splitlines(), strict=True):
        cells = (line.replace("\\\\", "").replace("\\|", "").count("|") for line in (one, other))
        assert len(set(cells)) == 1, (one, other)
    links = found.replace("\\\\", "").replace("\\]", "").replace("\\[", "")
    assert "](javascript" not in links
    assert "](http" not in links
    assert links.count("](") == plain.count("](")


@pytest.mark.parametrize("text", ["<script>", "a_b __init__ mean_diff_top1", "1 < 2 & 3 > 2", "x|y", "[l](u)"])
def test_what_is_escaped_reads_as_it_was(text: str) -> None:
    """Backslashes before marks, and entities, are all that Markdown takes away again."""
    rendered = ""
    marks = iter(escaped(text))
    for one in marks:
        rendered += next(marks) if one == "\\" else one
    assert rendered.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    assert "mean\\_diff" not in escaped(text)


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_the_labelling_sheet_is_a_formula(text: str) -> None:
    """Spreadsheets drop what stands before the sign, or take its full-width form for it."""
    rows = list(csv.reader(io.StringIO(sheet([Text("t0123456789ab", text, "c", text, text, 50.0)]).decode(), newline="")))
    for cell in rows[1][1:4]:
        assert cell.startswith("'")
        assert restored(cell) == text


@settings(max_examples=400, deadline=None)
@given(st.text(alphabet=st.sampled_from("'=+-@＝ \t\r\n\u200bab1"), max_size=6) | st.text(max_size=20))
def test_every_text_comes_back_from_its_cell(text: str) -> None:
    assert restored(inert(text)) == text
    assert inert(text) in (text, f"'{text}")


def test_a_labelled_sheet_is_read_back_whatever_the_spreadsheet_made_of_its_cells(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(
        "id,trait,question,answer,label\n0123456789ab,t,q,'=1,50\nba9876543210,t,q,a,\n00000000000a,t,q,a,7.5\n"
    )
    assert read_labels(tmp_path / "l.csv") == {"0123456789ab": 50.0, "00000000000a": 7.5}


def test_a_spreadsheet_may_use_other_separators_and_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("id;trait;question;answer;label\nt0123456789ab;t;q;caf\u00e9, na;7,5\n".encode("cp1252"))
    assert read_labels(tmp_path / "l.csv") == {"t0123456789ab": 7.5}
    (tmp_path / "l.csv").write_text("id|label\nt0123456789ab|50\n")
    with pytest.raises(BinnacleError, match=r"columns id and label.*it has: id\|label"):
        read_labels(tmp_path / "l.csv")


def test_no_id_of_a_sheet_can_be_read_as_a_number_and_ids_of_earlier_sheets_are_known() -> None:
    """Twelve hexadecimal digits may be `012345678901` or `12345e678901`, which spreadsheets save as numbers."""
    line: Any = {"cluster": "c", "question": "q"}
    texts = [_text("t", {**line, "text": f"answer {place}"}, float(place)) for place in range(2000)]
    numbers = [one.id for one in texts if NUMBER.fullmatch(one.id.removeprefix("t"))]
    assert numbers, "some would be numbers without the letter"
    assert [one.id for one in texts if NUMBER.fullmatch(one.id)] == []
    assert agreed(texts, {one.id: one.score / 20 for one in texts}).spearman == 1
    assert agreed(texts, {one.id.removeprefix("t"): one.score / 20 for one in texts}).n == len(texts)
    assert LabelsIn(labels={"t0123456789ab": 1.0, "ba9876543210": 2.0})
    with pytest.raises(ValidationError, match="A text has two labels"):
        LabelsIn(labels={"t0123456789ab": 1.0, "0123456789ab": 2.0})


@pytest.mark.parametrize("label", ["nan", "inf", "-1", "101", "1_0", "５０", "True", "1e1", "=5"])
def test_a_label_is_a_number_and_nothing_that_python_takes_for_one(tmp_path: Path, label: str) -> None:
    (tmp_path / "l.csv").write_text(f"id,label\n0123456789ab,{label}\n", encoding="utf-8")
    with pytest.raises(BinnacleError, match="row 2"):
        read_labels(tmp_path / "l.csv")


def test_a_row_that_cannot_be_used_is_named_as_a_spreadsheet_counts(tmp_path: Path) -> None:
    """Two sheets copied together repeat ids; with columns in another order a row may end before its id."""
    sheet = tmp_path / "l.csv"
    for text, said in {
        "id,label\na,10\nb,\na,90\n": "row 4: a has a label in an earlier row",
        "label,id\n10,a\n50\n": "row 3: '50' is not a number from 0 to 100 beside an id",
        'id,answer,label\na,"two\nlines",1\n\n\nb,q,x\n': "row 5: 'x' is not",
    }.items():
        sheet.write_text(text)
        with pytest.raises(BinnacleError, match=said):
            read_labels(sheet)
    sheet.write_text("label,id\n\n\n50,a\n,\n\n")
    assert read_labels(sheet) == {"a": 50.0}
    for text, said in {"": "empty_file: .* is empty", "\n": "empty_file: .* is empty"}.items():
        sheet.write_text(text)
        with pytest.raises(BinnacleError, match=said):
            read_labels(sheet)
