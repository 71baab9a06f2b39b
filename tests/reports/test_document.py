"""The report: each number links to its answers, and no text in it becomes markup."""

import html
import json
import re
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from typing import Any

import pytest

from binnacle.cli.tables import SHOWN
from binnacle.version import VERSION
from tests.reports.gathering import PROVENANCE, STUDY, Limits, Line, effect, gathered, html_of, read, summary
from workers.reports import frame
from workers.reports.document import Report, build
from workers.reports.table import Column, Table, to_markdown
from workers.reports.tables import elsewhere

GAINS: dict[str, Limits] = {"probe": (60.0, 50.0, 70.0), "mean_diff": (59.0, 49.0, 69.0), "mean_diff_cleaned": (59.5, 49.5, 69.5)}
TIES: dict[str, Limits] = {"mean_diff": (-1.0, -4.0, 3.0), "mean_diff_cleaned": (-0.5, -4.0, 3.0)}

PROTOCOL = {
    "questions": 20,
    "rows": [
        {"group": f"response[:5]/residual/{method}", "c": 1.0, "delta": 5.0, "coherence": 90.0, "run": f"reference-{method}"}
        for method in GAINS
    ],
}


def report(gains: dict[str, Limits], contrasts: dict[str, Limits], **more: Any) -> Report:
    """The report of a study of two traits on one model."""
    return build(STUDY, gathered({trait: summary(gains, contrasts, **more) for trait in ("refusal", "sycophancy")}))


def recommended(found: Report) -> dict[str, Any]:
    """The one row of the report's table of recommendations."""
    [row] = next(one["table"] for one in found.sections if one.get("table") and one["table"].id == "recommendations").rows
    return dict(row)


def test_every_number_leads_to_the_texts_it_was_computed_from() -> None:
    found = report(GAINS, TIES)
    methods = next(one["table"] for one in found.sections if one.get("table") and one["table"].id == "methods")
    for row in methods.rows:
        for key in ("delta", "joint", "at_dose", "at_coherence", "at_coefficient"):
            if row.get(key) is not None:
                assert re.fullmatch(rf"/v1/steerings/{row['trait']}/responses\?run=test-.+", row[f"{key}_from"])
    assert "[+60.0 \\[+50.0, +70.0\\]](/v1/steerings/refusal/responses?run=test-probe)" in to_markdown(methods)
    page = html_of(found)
    place = "answers-0-test-probe"
    assert place in re.findall(r'<a href="#(answers-0-[\w-]+)">\+60 \[\+50, \+70\]</a>', page)
    behind = page[page.index(f'id="{place}"') :]
    assert "Answer 4 of test-probe of refusal." in behind[: behind.index("</table>")]
    assert behind.index("Answer 4 of test-probe of refusal.") < behind.index("</details>")


def test_no_heading_names_the_probe_where_none_was_steered() -> None:
    """The shared coefficient is then the leader's, as the notes say."""
    data = gathered({"refusal": {**summary({"mean_diff": GAINS["mean_diff"]}, {}), "reference_protocol": PROTOCOL}})
    titles = {
        column.title for section in build(STUDY, data).sections if section.get("table") for column in section["table"].columns
    }
    assert {"gain at the shared coefficient", "held out, at the shared coefficient"} <= titles
    assert not [title for title in (*titles, *SHOWN.values()) if "probe" in title]


def test_the_html_report_needs_no_other_address_and_no_script() -> None:
    """Links of the API answer 401 to whoever opens the file; each link leads to a place in the file that exists."""
    page = html_of(report(GAINS, TIES, massive_part="signal"))
    links = re.findall(r'href="([^"]*)"', page)
    places = set(re.findall(r' id="([^"]+)"', page))
    assert len(links) > 10
    assert [link for link in links if not link.startswith("#") or link[1:] not in places] == []
    assert "<script" not in page
    assert "/v1/" not in page
    assert "unsafe" not in page.split("</head>")[0]


def test_rows_of_a_model_that_are_apart_are_one_table() -> None:
    """Published numbers keep the user's order."""
    number = {
        "trait": "refusal",
        "method": "probe",
        "position": "response[:5]",
        "layer": 2,
        "coefficient": None,
        "source": "x",
        "definition": "x",
    }
    places = [(model, value) for value in (1.0, 2.0, 3.0) for model in ("n", "m")]
    published = [number | {"model": model, "value": value} for model, value in places]
    table = build(STUDY | {"models": ["m", "n"], "published": published}, report(GAINS, TIES).data).to_dict()["tables"][-1]
    assert [row["model"] for row in table["rows"]] == ["n", "m"] * 3
    found = [(name, [row["value"] for row in part["rows"]]) for name, part in frame._split(table)]
    assert found == [("refusal on n", [1.0, 2.0, 3.0]), ("refusal on m", [1.0, 2.0, 3.0])]


def test_each_explanation_stands_once_in_each_form() -> None:
    found = report(GAINS, TIES, massive_part="signal")
    cells = [{**cell.steering, "reference_protocol": PROTOCOL} for cell in found.data.cells if cell.steering]
    data = replace(found.data, cells=[replace(cell, steering=one) for cell, one in zip(found.data.cells, cells, strict=True)])
    found = build(STUDY, data)
    notes = [
        sentence for table in found.to_dict()["tables"] if table["rows"] for sentence in re.split(r"(?<=\.) ", table["note"])
    ]
    assert max(map(notes.count, notes)) > 2, "each table of tables.json explains itself"
    for written in (html.unescape(html_of(found)), found.to_markdown().replace("\\", "")):
        assert {note: written.count(note) for note in notes if len(note) > 30 and written.count(note) != 1} == {}


def test_the_rule_behind_an_advice_stands_once() -> None:
    parts = [gathered({trait: summary(GAINS, TIES) for trait in STUDY["traits"]}, model=model) for model in ("m", "n")]
    data = replace(parts[0], calibrations={}, cells=[cell for part in parts for cell in part.cells])
    found = build(STUDY | {"models": ["m", "n"]}, data)
    rules = [one["because"].partition(". ")[0] for one in found.findings if one["because"].startswith("Rule:")]
    assert max(map(rules.count, rules)) == 2
    page = html.unescape(html_of(found))
    assert {rule: page.count(rule) for rule in rules if page.count(rule) != 1} == {}


def test_no_note_shows_the_name_of_a_variable() -> None:
    """A note that was meant to be filled in and was not."""
    data = gathered({"refusal": summary(GAINS, TIES)})
    [cell] = data.cells
    assert cell.steering is not None
    off = {"sycophancy": effect("off", (1.0, 0.0, 2.0))}
    groups = [{**one, "off_target": off} for one in cell.steering["groups"]]
    cells = [replace(cell, steering={**cell.steering, "off_target": True, "groups": groups, "reference_protocol": PROTOCOL})]
    tables = build(STUDY, replace(data, cells=cells)).to_dict()["tables"]
    assert {"off_target", "reference"} <= {table["id"] for table in tables}
    assert [table["id"] for table in tables if "{" in table["note"]] == []


def test_the_end_says_when_it_was_written_by_what_and_of_which_files() -> None:
    proofs = [{"name": "structure", "outcome": "passed", "figure": 0.0, "unit": "", "sentence": "Its blocks add up."}]
    passport = {"outcome": "passed", "reading_hash": PROVENANCE["reading_hash"], "proofs": proofs}
    provenance = PROVENANCE | {"weight_hash": "c0ffee" * 10, "dtype": "float32"}
    data = replace(gathered({"refusal": summary(GAINS, TIES)}), provenance={"m": provenance}, passports={"m": passport})
    asked = STUDY | {"seed": 7}
    end = html_of(build(asked, data)).split('id="origin"')[1]
    for said in (
        "2026-01-31",
        f"Binnacle {VERSION}",
        "c0ffee" * 10,
        "5ea1" * 16,
        "Its proofs passed.",
        "Its blocks add up.",
        "&#34;seed&#34;: 7",
        "reference 1",
    ):
        assert said in end, said


@pytest.mark.parametrize(
    ("measured", "proved", "said", "applies"),
    [
        ({}, {"reading_hash": "0" * 64}, "The way its texts are read has changed since it was measured", False),
        ({}, {"reading_hash": "", "outcome": "refused"}, "Its proofs refused it.", True),
        ({"reading_hash": None}, {}, "It was not proved when it was measured.", False),
        ({}, None, "It was not proved, or was changed or removed", False),
    ],
    ids=["another reading", "cannot run now", "measured first", "no proofs"],
)
def test_the_end_shows_the_proofs_that_apply_and_says_why_others_do_not(
    measured: dict[str, Any], proved: dict[str, Any] | None, said: str, applies: bool
) -> None:
    """A model that cannot be run now, or was measured before it was proved, was said to have changed."""
    proof = {"name": "structure", "outcome": "passed", "figure": 0.0, "unit": "", "sentence": "Its blocks add up."}
    passport = {"outcome": "passed", "reading_hash": PROVENANCE["reading_hash"], "proofs": [proof]}
    passports = {} if proved is None else {"m": passport | proved}
    data = replace(gathered({"refusal": summary(GAINS, TIES)}), provenance={"m": PROVENANCE | measured}, passports=passports)
    end = html_of(build(STUDY, data)).split('id="origin"')[1]
    assert said in end
    assert ("Its blocks add up." in end) is applies


def test_a_steering_that_a_vector_of_the_ablation_leads_has_a_report_that_does_not_advise_it() -> None:
    """In steerings of earlier versions: their report ended in a KeyError."""
    gains: dict[str, Limits] = {
        "probe_randomdims1": (50.0, 40.0, 60.0),
        "probe": (49.0, 39.0, 59.0),
        "mean_diff": (5.0, 0.0, 10.0),
    }
    against: dict[str, Limits] = {"probe": (-1.0, -3.0, 1.0), "mean_diff": (-45.0, -55.0, -35.0)}
    made = build(STUDY, gathered({trait: summary(gains, against) for trait in ("refusal", "sycophancy")}))
    [row] = next(table for table in made.to_dict()["tables"] if table["id"] == "recommendations")["rows"]
    assert row["method"] == "probe"
    assert row["viable"] == "no"


def test_sections_are_in_order_and_the_best_method_has_examples() -> None:
    page = html_of(report(GAINS, TIES))
    assert re.findall(r'<section id="(\w+)"', page) == ["verdict", "plots", "tables", "examples", "answers", "origin"]
    examples = re.sub(r"<[^>]+>", "", page.split('id="examples"')[1].split('id="answers"')[0])
    for words in (
        "refusal on m, most gain: Question 0 of refusal?",
        "middle",
        "least gain",
        "Answer 2 of test-unsteered",
        "Answer 2 of test-probe of sycophancy",
    ):
        assert words in examples, words


def test_an_answer_that_the_judge_did_not_score_is_no_example_of_the_least_gain() -> None:
    def read_without_scores(job: str, wanted: Collection[str]) -> tuple[list[Line], dict[str, list[Line]]]:
        runs, lines = read(job, wanted)
        return runs, {
            run: [{**line, "trait": None} if at == 4 else line for at, line in enumerate(of)] for run, of in lines.items()
        }

    page = report(GAINS, TIES).to_html(read_without_scores, date(2026, 1, 31))
    told = re.sub(r"<[^>]+>", "", page.split('id="examples"')[1].split('id="answers"')[0])
    assert "least gain: Question 3 of refusal?" in told
    assert "Question 4" not in told


def test_answers_that_do_not_fit_are_left_out_evenly_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.reports import texts

    whole = html_of(report(GAINS, TIES))
    assert ": 5 answers" in whole
    monkeypatch.setattr(texts, "MOST_BYTES", len(re.findall("Answer [0-9]", whole)) * 50)
    part = html_of(report(GAINS, TIES))
    assert re.search(r": [1-4] of 5 answers", part)
    assert ": 5 answers" not in part
    assert [one["at"] for one in texts.sampled([{"at": at} for at in range(10)], 0.35)] == [0, 3, 6]
    assert len(texts.sampled([{"at": 0}], 0.01)) == 1


def test_what_is_missing_is_named_with_its_reason_in_every_form() -> None:
    missing = [
        {"node": "steer/m/sycophancy", "kind": "steer", "state": "failed", "reason": "judge_unusable: it answered with prose"}
    ]
    found = build(STUDY, gathered({"refusal": summary(GAINS, TIES)}, missing=missing))
    assert found.to_dict()["missing"] == missing
    for text in (found.to_markdown(), html_of(found)):
        assert "steer/m/sycophancy" in text
        assert "judge_unusable: it answered with prose" in text


class Elements(HTMLParser):
    """Which elements a page has, and where it would fetch from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.fetched += [
            value or "" for name, value in attrs if name in ("src", "srcset", "data") or (tag == "link" and name == "href")
        ]


def test_nothing_that_a_model_or_a_request_says_becomes_markup_and_nothing_is_fetched() -> None:
    hostile = "<img src=x onerror=alert(1)>|</script><script>alert(2)</script>"
    missing = [{"node": hostile, "kind": "steer", "state": "failed", "reason": hostile}]
    named = STUDY | {"models": [hostile]}
    honest = Elements(html_of(report(GAINS, TIES)))
    found = build(named, gathered({hostile: summary(GAINS, TIES)}, model=hostile, missing=missing))
    page = Elements(html_of(found))
    assert page.fetched == []
    assert page.names.count("script") == honest.names.count("script")
    assert "img" not in page.names
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_table_in_markdown_keeps_its_columns_whatever_stands_in_it() -> None:
    table = Table("t", "T", "note", [Column("a", "a"), Column("b", "b")], [{"a": "x|y\nz", "b": "[no](link)"}])
    line = to_markdown(table).splitlines()[-1]
    assert line == "| x\\|y z | \\[no\\](link) |"


def test_without_traits_it_is_the_severity_of_the_models_and_says_which_were_not_measured() -> None:
    """Of a file of schema 1 what it does not hold is not measured either; nothing links to a server."""
    data = replace(
        gathered({}),
        unmeasured={"gemma-9": "not registered on this server"},
        provenance={"m": PROVENANCE | {"weight_hash": "c0ffee" * 10}},
    )
    facts = {"largest": 9.0, "above_30x": 1.0, "first_token": 0.75, "first_delimiter": 0.0, "elsewhere": 0.25}
    data.calibrations["m"]["location"] = {"2": {"7": facts}}  # type: ignore[index]
    study = STUDY | {"traits": [], "models": ["m", "gemma-9"], "calibration_new_tokens": 128}
    page = build(study, data).to_markdown()
    head, _, measured, unmeasured = page.splitlines()[-4:]
    assert page.startswith("# Severity of massive dimensions: 1 of 2 models measured")
    for cell in (
        "| severe |",
        "| 7: first token 75%, elsewhere 25% |",
        "| not measured |",
        "| c0ffeec0ffee |",
        "| not steered |",
        "| 99.0 % |",
    ):
        assert cell in measured
    assert unmeasured.startswith("| gemma-9 | not measured |")
    assert "not registered on this server" in unmeasured
    assert head.count("|") == measured.count("|") == unmeasured.count("|")
    assert "/v1/" not in page
    written = html_of(build(study, data))
    assert "Severe: dimension 7 holds 99 % of the squared norm (median of the middle layers)." in written
    assert "not registered on this server" in written
    assert 'id="examples"' not in written
    assert "/v1/" not in written
    data.calibrations["m"]["emergence"] = {"7": {"first": 2, "plateau": [2, 3, 5], "falls": None}}  # type: ignore[index]
    assert "| layer 2; plateau 2-3, 5; does not fall |" in build(study, data).to_markdown()


def test_a_trait_may_be_named_as_another_column_or_as_the_limit_of_another_trait() -> None:
    cells = []
    for trait, other in (("formality", "formality_high"), ("formality_high", "method"), ("method", "formality")):
        one = summary(GAINS, TIES)
        for group in one["groups"]:
            group["off_target"] = {other: effect("off", (-5.0, -9.0, -1.0))}
        cells += gathered({trait: {**one, "off_target": True}}).cells
    for table in (elsewhere.traits(replace(gathered({}), cells=cells)), elsewhere.off_target(replace(gathered({}), cells=cells))):
        assert {row["method"] for row in table.rows} == set(GAINS)
        assert "+60.0 [+50.0, +70.0]" in to_markdown(table).replace("\\", "")
