"""A report on vectors of several positions, components and models: they are told apart, and only like is compared with like."""

from typing import Any

import numpy as np
import pytest

from tests.reports.gathering import STUDY, effect, gathered, summary
from tests.reports.test_document import GAINS, TIES, recommended
from workers.reports.document import build
from workers.reports.gathered import Cell
from workers.reports.matrices import compared


def at_two_places() -> dict[str, Any]:
    """A steering of the same methods at a second position, where nothing steers."""
    one = summary(GAINS, TIES)
    elsewhere = [
        {**group, "position": "prompt[-1]", "group": f"prompt[-1]/residual/{group['method']}"} for group in one["groups"]
    ]
    worse = [
        {**one["contrasts"]["dose"][0], "b": group["group"], "difference": -30.0, "low": -40.0, "high": -20.0, "verdict": "worse"}
        for group in elsewhere
    ]
    return {**one, "groups": [*one["groups"], *elsewhere], "contrasts": {"dose": [*one["contrasts"]["dose"], *worse]}}


def test_methods_are_compared_where_the_leader_was_taken() -> None:
    """The same methods at a position where nothing steers say nothing about the methods."""
    row = recommended(build(STUDY, gathered({"refusal": at_two_places(), "sycophancy": at_two_places()})))
    assert (row["method"], row["viable"]) == ("mean_diff", "yes")


@pytest.mark.parametrize("table", ["methods", "traits"])
def test_no_two_rows_of_several_places_look_alike(table: str) -> None:
    found = build(STUDY, gathered({"refusal": at_two_places(), "sycophancy": at_two_places()}))
    [rows] = [one["table"].rows for one in found.sections if one.get("table") and one["table"].id == table]
    names = [(row["model"], row.get("trait"), row["method"]) for row in rows]
    assert len(set(names)) == len(names)
    assert {"probe at response[:5], residual", "probe at prompt[-1], residual"} <= {name for _, _, name in names}


def with_a_sibling(gain: float) -> dict[str, Any]:
    """Beside the steered model's own vectors, one more of mean_diff, made on another model."""
    one = summary({"probe": (20.0, 10.0, 30.0), "mean_diff": (18.0, 8.0, 28.0)}, {"mean_diff": (-2.0, -6.0, 2.0)})
    own, contrast = one["groups"][1], one["contrasts"]["dose"][0]
    other = {
        **own,
        "group": f"base:{own['group']}",
        "source_model": "base",
        "best": effect("test-base", (gain, gain - 1, gain + 1)),
    }
    worse = {**contrast, "b": other["group"], "difference": -50.0, "low": -60.0, "high": -40.0, "verdict": "worse"}
    return {
        **one,
        "groups": [*one["groups"], {**other, "matched": {"dose": other["best"]}}],
        "contrasts": {"dose": [contrast, worse]},
    }


def test_vectors_of_another_model_are_rows_and_methods_of_their_own() -> None:
    report = build(STUDY, gathered({"refusal": with_a_sibling(-30.0), "sycophancy": with_a_sibling(-30.0)}))
    [rows] = [one["table"].rows for one in report.sections if one.get("table") and one["table"].id == "traits"]
    assert {row["method"]: row["trait:refusal"] for row in rows} == {"probe": 20.0, "mean_diff": 18.0, "mean_diff of base": -30.0}
    alone = summary({"probe": (20.0, 10.0, 30.0), "mean_diff": (18.0, 8.0, 28.0)}, {"mean_diff": (-2.0, -6.0, 2.0)})
    assert recommended(report) == recommended(build(STUDY, gathered({"refusal": alone, "sycophancy": alone})))


def test_only_vectors_of_one_component_are_compared_by_cosine() -> None:
    """Those of another component have other coordinates, and may be of another width."""
    vectors = {"p/k_proj/probe/2": np.ones(3), "p/residual/probe/2": np.ones(4), "p/residual/mean_diff/2": np.arange(4.0)}
    held = [
        {"key": key, "position": "p", "component": key.split("/")[1], "method": key.split("/")[2], "layer": 2} for key in vectors
    ]
    cell = Cell("m", "t", {"layers": [2], "vectors": held}, vectors, {**summary(GAINS, TIES)}, {})
    found = compared(cell)
    assert found is not None
    assert list(found.names) == ["probe", "mean_diff"]


def test_massive_dims_of_the_stream_are_not_set_to_zero_in_another_components_vectors() -> None:
    """Dim 5 of the stream and dim 5 of k_proj are different things: setting it to 0 would change a cosine, or fail where k_proj is narrower."""
    vectors = {f"p/k_proj/{name}/2": np.eye(4)[at] + 1 for at, name in enumerate(("probe", "mean_diff"))}
    vectors |= {f"p/residual/{name}/2": np.ones(8) for name in ("probe", "mean_diff")}
    held = [
        {"key": key, "position": "p", "component": key.split("/")[1], "method": key.split("/")[2], "layer": 2,
         "massive": None if "k_proj" in key else {"dims": [0, 5], "share": 0.4}} for key in reversed(vectors)
    ]  # fmt: skip
    steered = summary(GAINS, TIES)
    best = {**steered, "groups": [{**one, "component": "k_proj"} for one in steered["groups"]]}
    found = compared(Cell("m", "t", {"layers": [2], "vectors": held}, vectors, best, {}))
    assert found is not None
    assert list(found.massive) == []
    assert np.array_equal(found.before, found.after)


@pytest.mark.parametrize("judge_facts", [{}, {"tells_apart": False}])
def test_a_vector_that_was_not_compared_says_why_whatever_the_judge(judge_facts: dict[str, Any]) -> None:
    """Words about the judge stood in the place of such remarks."""
    why = "over 99 % of the vector lies in massive dims, so it has no clean dose"
    one = summary(GAINS, {})
    remarks = {"mean_diff": {"same_as": "probe"}, "mean_diff_cleaned": {"unreachable": {"dose": why}}}
    groups = [{**group, **remarks.get(group["method"], {})} for group in one["groups"]]
    found = build(STUDY, gathered({"refusal": {**one, "groups": groups, "judge_facts": judge_facts}}))
    [rows] = [section["table"].rows for section in found.sections if section.get("table") and section["table"].id == "methods"]
    verdicts = {row["method"]: row.get("verdict") for row in rows}
    assert verdicts["mean_diff"] == "same vector as probe"
    assert verdicts["mean_diff_cleaned"] == why
    assert ("(the judge)" in verdicts["probe"]) == bool(judge_facts)


def test_a_method_without_a_gain_has_the_reasons_of_all_its_layers() -> None:
    """The last layer's reason stood for all, as `None` where its search had not ended."""
    one = summary(GAINS, {})
    place = {
        "method": "pca",
        "group": "response[:5]/residual/pca",
        "position": "response[:5]",
        "component": "residual",
        "same_as": None,
    }
    for reasons, why in (
        (("budget used", "incoherent down to r = 0.1", "budget used"), "budget used; incoherent down to r = 0.1"),
        (("no clean dose", None), "no clean dose"),
        ((None,), "no dose to report"),
    ):
        subjects = [place | {"name": f"pca/{layer}", "stopped": stopped} for layer, stopped in enumerate(reasons)]
        found = build(STUDY, gathered({"refusal": {**one, "subjects": subjects}}))
        [rows] = [
            section["table"].rows for section in found.sections if section.get("table") and section["table"].id == "methods"
        ]
        assert [row["verdict"] for row in rows if row["method"] == "pca"] == [f"not compared: {why}"]


def test_a_control_that_was_not_run_is_a_row_with_the_reason() -> None:
    one = summary(GAINS, {})
    groups = [{**group, "controls_left_out": {"p/shuffled/2": "it has no clean dose"}} for group in one["groups"]]
    found = build(STUDY, gathered({"refusal": {**one, "groups": groups}}))
    [rows] = [section["table"].rows for section in found.sections if section.get("table") and section["table"].id == "methods"]
    assert [row["verdict"] for row in rows if row["method"] == "control p/shuffled/2"] == ["not run: it has no clean dose"]
