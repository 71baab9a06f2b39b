"""Results by different rules of massive dims, or by different readings of a model, are marked in every table that they share."""

from dataclasses import replace
from typing import Any

import pytest

from tests.reports.gathering import Limits, gathered, summary
from workers.reports.document import build
from workers.reports.gathered import Gathered
from workers.reports.tables.massive_dims import cleaning

GAINS: dict[str, Limits] = {"probe": (60.0, 50.0, 70.0), "mean_diff": (59.0, 49.0, 69.0)}
TIES: dict[str, Limits] = {"mean_diff": (-1.0, -4.0, 3.0)}


def two_models(**second: Any) -> Gathered:
    """`m` and `n`, a steering each; `second` changes what the summary of `n` says."""
    one, other = gathered({"refusal": summary(GAINS, TIES)}), gathered({"refusal": summary(GAINS, TIES)}, model="n")
    [cell] = other.cells
    assert cell.steering is not None
    cells = [*one.cells, replace(cell, steering={**cell.steering, **second})]
    return Gathered(
        {**one.calibrations, **other.calibrations},
        cells,
        [],
        {**one.sources, **other.sources},
        provenance={**one.provenance, **other.provenance},
    )


def by_table(data: Gathered) -> dict[str, Any]:
    """The report's tables by id."""
    study = {"models": ["m", "n"], "traits": ["refusal"], "evidence": "quick", "coherence_threshold": 70.0, "published": []}
    return {one["table"].id: one["table"] for one in build(study, data).sections if "table" in one}


def rules_in(table: Any) -> dict[str, set[str]]:
    """The marks of each model's rows."""
    return marks_in(table, "rule")


def readings_in(table: Any) -> dict[str, set[str]]:
    """The readings of each model's rows."""
    return marks_in(table, "reading")


def marks_in(table: Any, column: str) -> dict[str, set[str]]:
    models = {row["model"] for row in table.rows}
    return {model: {row.get(column) for row in table.rows if row["model"] == model} for model in models}


def test_one_rule_needs_no_mark_but_severity_names_it() -> None:
    found = by_table(two_models(massive_rule="peeling"))
    assert [column.key for column in found["methods"].columns].count("rule") == 0
    assert rules_in(found["severity"]) == {"m": {"peeling"}, "n": {"peeling"}}


def test_an_older_calibration_beside_a_new_one_is_marked_in_every_table_with_its_model() -> None:
    data = two_models()
    old = {
        **data.calibrations["n"],
        "massive_dims": {"rule": "massive", "dims": [7, 3]},
    }  # the name of ratio10-3layers in old files
    found = by_table(replace(data, calibrations={**data.calibrations, "n": old}))
    for name in ("methods", "recommendations", "traits", "severity"):
        assert rules_in(found[name]) == {"m": {"peeling"}, "n": {"ratio10-3layers"}}, name
        assert "rule" in [column.key for column in found[name].columns]
    assert "not comparable" in found["methods"].note


def test_a_steering_by_another_rule_than_its_model_s_calibration_is_marked() -> None:
    found = by_table(two_models(massive_rule="ratio10-3layers"))
    assert rules_in(found["methods"]) == {"m": {"peeling"}, "n": {"ratio10-3layers"}}


def test_readings_need_no_mark_while_each_model_has_one() -> None:
    data = two_models()
    own = {"reading_hash": "beef" * 16}
    [one, other] = data.cells
    assert other.steering is not None
    cells = [one, replace(other, steering={**other.steering, "provenance": own})]
    found = by_table(replace(data, cells=cells, provenance={**data.provenance, "n": own}))
    assert not any("reading" in [column.key for column in table.columns] for table in found.values())


@pytest.mark.parametrize(
    ("provenance", "shown"),
    [({"reading_hash": "beef" * 16}, "5ea15ea15ea1 and beefbeefbeef"), ({}, "5ea15ea15ea1 and not proved")],
)
def test_a_steering_read_otherwise_than_its_calibration_is_marked_in_every_table_with_its_model(
    provenance: dict[str, str], shown: str
) -> None:
    found = by_table(two_models(provenance=provenance))
    for name in ("methods", "recommendations", "traits", "severity"):
        assert readings_in(found[name]) == {"m": {"5ea15ea15ea1"}, "n": {shown}}, name
        assert "Make them again" in found[name].note


def test_a_model_that_was_never_proved_is_marked_in_the_severity_table() -> None:
    data = replace(two_models(), cells=[], provenance={"m": {"reading_hash": "5ea1" * 16}, "n": {"reading_hash": None}})
    study = {"models": ["m", "n"], "traits": [], "calibration_new_tokens": 8}
    [table] = [one["table"] for one in build(study, data).sections if "table" in one]
    assert readings_in(table) == {"m": {"5ea15ea15ea1"}, "n": {"not proved"}}


def test_the_ablation_marks_the_zeroed_dims_that_the_layer_lists_and_no_others() -> None:
    """The layer's order by ratio begins 7, 3, 1, and its list is 7 and 1: not the head of that order."""
    base = gathered({"refusal": summary({**GAINS, **{f"mean_diff_top{n}": GAINS["probe"] for n in (1, 2, 3)}}, TIES)})
    calibration = {
        **base.calibrations["m"],
        "massive_dims": {"rule": "peeling", "dims": [7, 1, 9]},
        "massive_by_layer": {"2": [7, 1]},
    }
    table = cleaning(replace(base, calibrations={"m": calibration}))
    marks = {row["n"]: row["massive"] for row in table.rows if row["base"] == "mean_diff"}
    assert marks == {0: 0, 1: 1, 2: 1, 3: 2}


def test_a_row_of_the_ablation_holds_one_fit_at_one_layer_and_one_dose() -> None:
    """Another C of the probe, another chosen layer, and a group that could not be given the leader's dose stand in no other's row."""
    one = summary(
        {**GAINS, **dict.fromkeys(("probe_top1", "probe_top1__c0.1", "probe_randomdims1", "mean_diff_top1"), GAINS["probe"])},
        TIES,
    )
    by_method = {group["method"]: group for group in one["groups"]}
    by_method["probe_randomdims1"]["layers"] = [4]
    by_method["mean_diff_top1"]["matched"]["dose"] = None
    rows = cleaning(gathered({"refusal": one})).rows
    places = [(row["base"], row["layer"], row["n"], sorted({"top", "randomdims"} & row.keys())) for row in rows]
    assert places == [
        ("mean_diff", "2", 0, ["randomdims", "top"]),
        ("mean_diff", "2", 1, []),
        ("probe", "2", 0, ["randomdims", "top"]),
        ("probe", "2", 1, ["top"]),
        ("probe", "4", 1, ["randomdims"]),
        ("probe__c0.1", "2", 1, ["top"]),
    ]
