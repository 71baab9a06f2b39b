"""A report's recommendation follows from its numbers, and is withdrawn where the judge or the questions do not support it."""

import html
import json
import re
from typing import Any

import pytest

from app.pages.results.study import View, sections
from binnacle.cli.output import out
from binnacle.cli.tables import study_report
from tests.reports.gathering import STUDY, Limits, effect, gathered, html_of, summary
from tests.reports.test_document import GAINS, TIES, recommended, report
from workers.judges.agreement import Agreement, agreement
from workers.reports.document import Report, build
from workers.reports.table import escaped


@pytest.mark.parametrize(
    ("contrasts", "method", "viable"),
    [
        (TIES, "mean_diff", "yes"),
        (TIES | {"mean_diff": (-30.0, -40.0, -20.0)}, "mean_diff_cleaned", "no"),
        (TIES | {"mean_diff": (-6.0, -13.0, 1.0)}, "mean_diff_cleaned", "unclear"),
        (dict.fromkeys(TIES, (-30.0, -40.0, -20.0)), "probe", "no"),
    ],
    ids=["it ties", "it is worse", "it may be worse", "nothing else ties"],
)
def test_the_recommendation_follows_from_the_contrasts(contrasts: dict[str, Limits], method: str, viable: str) -> None:
    row = recommended(report(GAINS, contrasts))
    assert (row["method"], row["viable"]) == (method, viable)


@pytest.mark.parametrize(
    "stored", [{"difference": -2.0, "difference_of_the_fit": -22.0}, {"difference": -22.0, "over_refits": -2.0}]
)
def test_the_difference_beside_a_verdict_over_refits_is_that_of_the_refits(stored: dict[str, float]) -> None:
    """Also in files that keep it under an earlier name."""
    found = {trait: summary(GAINS, TIES) for trait in STUDY["traits"]}
    for one in found.values():
        contrast = next(one for one in one["contrasts"]["dose"] if one["b"].endswith("/mean_diff"))
        contrast |= {**stored, "low": -6.0, "high": 2.0}
    made = build(STUDY, gathered(found))
    assert made.findings[0]["because"].count("-2.0 [-6.0, +2.0] against probe") == 2
    methods = next(one["table"] for one in made.sections if one.get("table") and one["table"].id == "methods")
    row = next(row for row in methods.rows if row["method"] == "mean_diff")
    assert (row["difference"], row["difference_low"], row["difference_high"], row["verdict"]) == (-2.0, -6.0, 2.0, "ties")


@pytest.mark.parametrize(
    ("low", "high", "stored", "shown"),
    [(0.004, 15.0, "better", "[+0.004, +15.0]"), (-9.998, 2.0, "ties", "[-9.998, +2.0]"), (-3.0, 10.0, "ties", "[-3.0, +10.0]")],
)
def test_advice_rests_on_the_stored_verdict_and_no_limit_is_shown_as_a_threshold(
    low: float, high: float, stored: str, shown: str
) -> None:
    """The last limit is one that an earlier version rounded to the margin."""
    found = {trait: summary(GAINS, TIES) for trait in STUDY["traits"]}
    for one in found.values():
        contrast = next(one for one in one["contrasts"]["dose"] if one["b"].endswith("/mean_diff"))
        contrast |= {"low": low, "high": high, "verdict": stored}
    made = build(STUDY, gathered(found))
    assert recommended(made)["method"] == "mean_diff"
    assert made.to_markdown().count(escaped(shown)) == 6, "in the advice and the tables of methods and severity, for each trait"


def test_where_the_massive_part_is_signal_cleaning_is_advised_against() -> None:
    assert recommended(report(GAINS, TIES))["cleaning"] == "not enough evidence"  # no contrast of cleaned and plain was made
    assert recommended(report(GAINS, TIES, massive_part="signal"))["cleaning"] == "advised against"


def test_a_cleaned_method_with_parameters_counts_for_cleaning() -> None:
    gains: dict[str, Limits] = {"probe__c10.0": (40.0, 30.0, 50.0), "probe_cleaned__c10.0": (60.0, 50.0, 70.0)}
    row = recommended(report(gains, {"probe_cleaned__c10.0": (20.0, 12.0, 28.0)}))
    assert row["cleaning"] == "advised"


def test_too_few_questions_give_no_recommendation() -> None:
    """Too few clusters leave every value and no interval (docs/science.md, 4.5)."""
    found = report(dict.fromkeys(GAINS), dict.fromkeys(TIES))
    row = recommended(found)
    assert (row["method"], row["cleaning"], row["viable"]) == ("not enough evidence", "not enough evidence", "unclear")
    assert "0 traits showed a reliable effect, 2 are needed" in found.findings[0]["sentence"]


def test_a_judge_that_disagrees_with_labels_gives_no_recommendation() -> None:
    """No other table and no warning draws a conclusion from its scores, either."""
    controls: dict[str, Limits] = {"shuffled": (55.0, 40.0, 65.0)}
    data = gathered({trait: summary(GAINS, TIES, massive_part="signal", controls=controls) for trait in STUDY["traits"]})
    object.__setattr__(data, "agreement", Agreement(n=50, spearman=0.4, same_side=0.7, clusters=30))
    found = build(STUDY, data)
    assert recommended(found)["method"] == "not enough evidence"
    tables = {one["table"].id: one["table"].rows for one in found.sections if "table" in one}
    assert {row["verdict"] for row in tables["decomposition"]} == {"unclear"}
    assert [row["massive_part"] for row in tables["severity"]] == ["unclear"]
    assert len(found.findings) == 1


def test_labels_that_are_all_alike_give_no_recommendation() -> None:
    """Without a rank correlation the labels do not confirm the judge."""
    data = gathered({trait: summary(GAINS, TIES) for trait in STUDY["traits"]})
    object.__setattr__(data, "agreement", agreement([90.0, 10.0, 70.0] * 10, [0.0] * 30))
    assert recommended(build(STUDY, data))["method"] == "not enough evidence"


def test_labels_of_few_clusters_neither_confirm_the_judge_nor_withdraw_its_verdicts() -> None:
    """Two labels have a rank correlation of 1 or -1, and many labels of a few questions say no more than those."""
    texts = [float(place) for place in range(38)]
    for labels, clusters in (([1.0, 0.0], [0, 1]), (texts[::-1], [place % 19 for place in range(38)])):
        data = gathered({trait: summary(GAINS, TIES) for trait in STUDY["traits"]})
        object.__setattr__(data, "agreement", agreement(texts[: len(labels)], labels, clusters))
        found = build(STUDY, data)
        assert recommended(found)["method"] == "mean_diff"
        assert f"labels in {len(set(clusters))} clusters decide nothing" in found.facts["judge and labels"]


def test_a_method_that_the_judge_could_not_score_is_left_out_of_the_recommendation() -> None:
    """An endpoint may refuse every text of one run; the steering succeeds, and so does the report."""
    found = {trait: summary(GAINS, TIES) for trait in STUDY["traits"]}
    for one in found.values():
        unscored = dict.fromkeys(["difference", "low", "high", "interval", "smallest_detectable"])
        one["contrasts"]["dose"][0] |= {**unscored, "verdict": "not enough evidence"}
    assert recommended(build(STUDY, gathered(found)))["method"] in ("probe", "mean_diff_cleaned")


def test_a_judge_that_cannot_tell_the_classes_apart_gives_no_recommendation_and_the_report_says_what_to_do() -> None:
    """Its held-out accuracy and the spread of unsteered scores are shown whether it can or not."""
    told = {"low": 0.62, "high": 0.81, "clusters": 61, "n": 120, "accuracy": 0.72}
    spread = {"min": 57.0, "p10": 60.0, "median": 77.7, "p90": 95.0, "max": 99.0}

    def judged(tells_apart: bool) -> Report:
        facts = {"held_out_accuracy": 0.72, "held_out": told, "tells_apart": tells_apart}
        found = {}
        for trait in STUDY["traits"]:
            one = summary(GAINS, TIES, massive_part="signal") | {"judge_facts": facts}
            one["unsteered"]["test"]["spread"] = spread
            found[trait] = one
        return build(STUDY, gathered(found))

    sure, unsure = judged(True), judged(False)
    assert recommended(sure)["method"] == "mean_diff"
    row = recommended(unsure)
    assert (row["method"], row["cleaning"], row["viable"]) == ("not enough evidence", "not enough evidence", "unclear")
    methods = next(one["table"] for one in unsure.sections if one.get("table") and one["table"].id == "methods")
    assert not {"the leader", "ties", "better"} & {one.get("verdict") for one in methods.rows}
    for found in (sure, unsure):
        page = html_of(found)
        assert "72 % [62, 81] of held-out responses correctly (61 clusters; 50 % is chance)" in page
        assert "Unsteered answers score 57 to 99, median 77.7" in page
    said = unsure.to_markdown()
    assert "this judge cannot tell the classes apart" in said
    assert said.count("/v1/judges") == 4, "an endpoint and a local model, for each trait"
    assert "/v1/judges" not in sure.to_markdown()


def test_a_control_that_gains_as_much_is_a_finding() -> None:
    def said(found: Report) -> list[str]:
        return [one["sentence"] for one in found.findings if one["sentence"].startswith("Careful")]

    assert said(report(GAINS, TIES)) == []
    found = said(report(GAINS, TIES, controls={"shuffled": (55.0, 40.0, 65.0)}))
    assert len(found) == 2
    assert all(one.endswith("gains as much as the best method may gain (the lower end of its interval).") for one in found)


def test_incoherent_answers_of_the_best_method_are_a_finding() -> None:
    """Broken text shows less of any trait, and such a gain was advised without a word."""
    found = {trait: summary(GAINS, TIES) for trait in STUDY["traits"]}
    leader = found["refusal"]["groups"][0]
    leader["best"] |= {"coherence": 69.6, "delta_joint": 0.0}
    careful = [finding for finding in build(STUDY, gathered(found)).findings if finding["sentence"].startswith("Careful")]
    assert [finding["sentence"] for finding in careful] == [
        "Careful with refusal: answers at the best method's dose are less coherent than was requested."
    ]
    assert (
        "a mean coherence of 69.6 out of 100, below 70; its joint gain, of coherent answers alone, is +0.0"
        in careful[0]["because"]
    )
    leader["best"]["coherence"] = 70.0
    assert not [finding for finding in build(STUDY, gathered(found)).findings if finding["sentence"].startswith("Careful")]


@pytest.mark.parametrize(("matched", "at"), [(True, "the best method's dose"), (False, "its best dose")])
def test_incoherent_answers_of_the_advised_method_are_a_finding(matched: bool, at: str) -> None:
    """Broken text can tie with the leader; its best run, at another dose, counts only where none is at the leader's dose."""
    summaries = {trait: summary(GAINS, TIES) for trait in STUDY["traits"]}
    group = next(group for group in summaries["refusal"]["groups"] if group["method"] == "mean_diff")
    broken = {**effect("test-broken", (59.0, 49.0, 69.0), coherence=20.0), "delta_joint": None}
    group["matched"]["dose"], group["best"] = (broken, group["best"]) if matched else (None, broken)
    made = build(STUDY, gathered(summaries))
    assert recommended(made)["method"] == "mean_diff"
    [careful] = [finding for finding in made.findings if finding["sentence"].startswith("Careful")]
    assert careful["sentence"] == (
        "Careful with refusal: answers of mean_diff, which is advised, are less coherent than was requested."
    )
    assert careful["because"] == (
        f"mean_diff at {at} has a mean coherence of 20 out of 100, below 70; its joint gain, of coherent answers alone, is not known."
    )


def test_incoherent_answers_are_a_finding_where_the_gain_has_no_interval() -> None:
    summaries = {trait: summary(NO_INTERVALS, dict.fromkeys(TIES)) for trait in STUDY["traits"]}
    summaries["refusal"]["groups"][0]["best"]["coherence"] = 20.0
    careful = [finding for finding in build(STUDY, gathered(summaries)).findings if finding["sentence"].startswith("Careful")]
    assert [finding["because"].split(",")[0] for finding in careful] == ["probe has a mean coherence of 20 out of 100"]


def test_the_limit_that_a_control_reaches_is_not_shown_as_0() -> None:
    made = report(GAINS | {"probe": (60.0, 0.04, 70.0)}, TIES, controls={"random": (5.0, 1.0, 9.0)})
    because = [finding["because"] for finding in made.findings if finding["sentence"].startswith("Careful")]
    assert all("probe +60.0 [+0.04, +70.0]" in reason for reason in because)
    assert len(because) == len(STUDY["traits"])


@pytest.mark.parametrize("measured", [True, False])
def test_mean_diff_is_advised_on_a_massive_model_with_the_reason_and_the_gain_at_the_usual_coefficient(measured: bool) -> None:
    found = {trait: summary(GAINS, TIES) for trait in STUDY["traits"]}
    for one in found.values():
        group = next(one for one in one["groups"] if one["method"] == "mean_diff")
        group["matched"] |= {"coefficient": effect("test-same-c", (1.5, -2.0, 5.0)) if measured else None}
    made = build(STUDY, gathered(found))
    gains = "refusal +1.5 [-2.0, +5.0]; sycophancy +1.5 [-2.0, +5.0]." if measured else "not measured in this study."
    for form in (made.to_markdown().replace("\\", ""), html.unescape(html_of(made)), json.dumps(made.to_dict())):
        assert (
            "mean_diff is advised although the model is severe: at equal dose its massive part does not count against it" in form
        )
        assert (
            "At the usual coefficient, one for all vectors as in published results, such a vector would do nothing where" in form
        )
        assert f"Gain measured at such a coefficient, the probe's or else the leader's: {gains}" in form


def test_advice_of_another_method_or_on_a_model_without_massive_dims_needs_no_such_reason() -> None:
    mild = gathered({trait: summary(GAINS, TIES) for trait in STUDY["traits"]})
    mild.calibrations["m"]["severity"]["verdict"] = "none"
    for made in (build(STUDY, mild), report(GAINS, {"mean_diff": (-30.0, -40.0, -20.0), "mean_diff_cleaned": TIES["mean_diff"]})):
        assert recommended(made)["method"] is not None
        assert "is advised although" not in made.to_markdown()


NO_INTERVALS: dict[str, Limits] = dict.fromkeys(GAINS)


@pytest.mark.parametrize("gains", [GAINS, {"mean_diff": (59.0, 49.0, 69.0), "probe": (50.0, 40.0, 60.0)}, NO_INTERVALS])
def test_no_form_of_a_study_says_that_a_method_leads_without_an_interval(
    gains: dict[str, Limits], capsys: pytest.CaptureFixture[str]
) -> None:
    """The report's forms, the page and the command line; a link's text may lead somewhere, a method only with numbers."""
    found = report(gains, {name: TIES["mean_diff"] if gains[name] else None for name in [*gains][1:]}, massive_part="signal")
    document: Any = json.loads(json.dumps(found.to_dict()))
    out.print(study_report(document))
    forms = [capsys.readouterr().out, found.to_markdown().replace("\\", ""), html.unescape(html_of(found)), json.dumps(document)]
    forms.append(repr(sections(document, document["recommendations"], View())))
    for form in forms:
        said = re.sub(r"\s+", " ", form)
        assert "the leader" in said
        bare = [said[one.start() - 40 : one.end() + 40] for one in re.finditer(r"\bleads\b(?! to |, gain \[[-+])", said)]
        assert bare == []
