"""The verdict of an interval, and the recommendations of a study, follow from the numbers."""

import dataclasses

import numpy as np
import pytest

from tests.ml.simulated_scores import labels
from workers.science.intervals import Interval, paired_interval
from workers.science.verdicts import (
    BETTER,
    NOT_ENOUGH,
    TIES,
    WORSE,
    Contrast,
    TraitEvidence,
    cost,
    mean_diff_viable,
    recommend,
    verdict,
)


def between(low: float, high: float) -> Interval:
    return Interval(low, high, "bca", 72, 36)


def contrast(low: float, high: float) -> Contrast:
    return Contrast((low + high) / 2, between(low, high), detectable=12.0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-9.9, 9.9, TIES),
        (-3.0, -0.1, TIES),  # surely worse, and by so little that it does not matter
        (-10.0, 3.0, NOT_ENOUGH),  # the margin itself is outside
        (-9.0, 10.5, NOT_ENOUGH),
        (0.1, 30.0, BETTER),
        (-30.0, -0.1, WORSE),
        (0.0, 30.0, NOT_ENOUGH),
        (-40.0, 40.0, NOT_ENOUGH),
    ],
)
def test_the_verdict_is_a_tie_within_ten_points_better_or_worse_without_zero_else_not_enough(low, high, expected):
    assert verdict(between(low, high)) == expected


def test_without_an_interval_there_is_no_verdict() -> None:
    assert verdict(None) == NOT_ENOUGH


def test_a_contrast_without_enough_evidence_states_the_detectable_difference() -> None:
    assert str(contrast(-5, 15)) == "+5.0 [-5.0, +15.0] (smallest detectable difference: 12 points)"
    assert str(contrast(-1, 3)) == "+1.0 [-1.0, +3.0]"
    assert str(Contrast(5.0, None)) == "+5.0 no interval"


def test_methods_are_ordered_by_what_they_cost() -> None:
    keys = ["imported", "lm_loss", "probe_cleaned", "probe", "mean_diff_top1", "mean_diff_rownorm", "mean_diff"]
    assert sorted(keys, key=cost) == [
        "mean_diff",
        "mean_diff_top1",
        "mean_diff_rownorm",
        "probe",
        "probe_cleaned",
        "lm_loss",
        "imported",
    ]


def evidence(trait: str = "refusal", **changed: object) -> TraitEvidence:
    """A model where mean_diff fails at equal dose and row normalisation ties with the probe."""
    base = TraitEvidence(
        trait,
        leader="probe",
        leader_gain=between(50, 70),
        contrasts={
            "mean_diff": contrast(-40, -20),
            "mean_diff_rownorm": contrast(-3, 4),
            "random": contrast(-70, -50),
        },
        cleaning={"mean_diff": contrast(15, 35)},
        massive_part="noise",
    )
    return dataclasses.replace(base, **changed)  # type: ignore[arg-type]


BOTH = [evidence("refusal"), evidence("sycophancy")]


def test_the_cheapest_method_that_ties_on_two_traits_is_recommended_with_its_numbers() -> None:
    found = recommend(BOTH)
    assert found.method == "mean_diff_rownorm"
    assert found.findings[0].sentence == "Use mean_diff_rownorm: the cheapest method that ties with the best."
    assert "refusal: +0.5 [-3.0, +4.0] against probe" in found.findings[0].because
    assert "sycophancy" in found.findings[0].because
    assert "+-10 points" in found.findings[0].because


def test_when_the_numbers_change_the_recommendation_changes() -> None:
    """Each block changes the contrasts of the same study."""
    ties = contrast(-5, 5)
    assert (
        recommend([evidence(contrasts={"mean_diff": ties}), evidence("b", contrasts={"mean_diff": ties})]).method == "mean_diff"
    )
    unsure = {"mean_diff_rownorm": contrast(-12, 4)}
    assert recommend([evidence(contrasts=unsure), evidence("b", contrasts=unsure)]).method == "probe"
    beats = {"mean_diff": contrast(12, 30)}
    assert recommend([evidence(contrasts=beats), evidence("b", contrasts=beats)]).method == "mean_diff"
    assert recommend([evidence(contrasts={}), evidence("b", leader="mean_diff", contrasts={})]).method is None


def test_a_method_that_fails_one_trait_is_not_recommended_though_it_ties_on_two() -> None:
    """The report advised mean_diff, named the two ties alone, and said beside it that mean_diff is not viable."""
    ties, fails = {"mean_diff": contrast(-5, 5)}, {"mean_diff": contrast(-40, -20)}
    two = [evidence("a", contrasts=ties), evidence("b", contrasts=ties)]
    assert recommend(two).method == "mean_diff"
    assert recommend([*two, evidence("c", contrasts=fails)]).method == "probe"
    nothing_steers = evidence("c", leader_gain=between(-2, 30), contrasts=fails)
    assert recommend([*two, nothing_steers]).method == "mean_diff"
    each_fails = [evidence("c", contrasts=fails), evidence("d", leader="mean_diff", contrasts={"probe": contrast(-40, -20)})]
    nothing = recommend([*two, *each_fails])
    assert nothing.method is None
    assert nothing.findings[0].sentence.endswith("none ties with the best on 2 traits and is worse on none.")


def test_a_control_is_never_recommended_even_if_it_ties() -> None:
    tied = {"random": contrast(-1, 1), "shuffled__of-probe__seed1": contrast(-1, 1)}
    assert recommend([evidence(contrasts=tied), evidence("b", contrasts=tied)]).method == "probe"


def test_one_trait_or_a_gain_that_may_be_zero_is_not_enough() -> None:
    assert recommend(BOTH[:1]).method is None
    assert recommend([]).method is None
    unsure = recommend([evidence(), evidence("b", leader_gain=between(-2, 30))])
    assert unsure.method is None
    assert "1 trait showed a reliable effect, 2 are needed" in unsure.findings[0].sentence
    assert "b: best probe, gain [-2.0, +30.0]" in unsure.findings[0].because


def test_with_five_questions_everything_is_not_enough_evidence() -> None:
    """All 5 questions gained 80 points, but five questions have no interval."""
    interval = paired_interval(np.full(5, 80.0), labels(5, 1))
    five = [
        evidence(
            name,
            leader_gain=interval,
            contrasts={"mean_diff": Contrast(-60.0, None)},
            cleaning={"mean_diff": Contrast(50.0, None)},
        )
        for name in ("refusal", "sycophancy")
    ]
    found = recommend(five)
    assert interval is None
    assert (found.method, found.cleaning) == (None, NOT_ENOUGH)
    assert all(one.sentence.startswith("Not enough evidence") for one in found.findings)
    assert mean_diff_viable(five)[0] == "unclear"
    assert mean_diff_viable([dataclasses.replace(five[0], leader="mean_diff")])[0] == "unclear"  # a lead without an interval


@pytest.mark.parametrize(
    ("changed", "cleaning", "words"),
    [
        ({}, "advised", "Clean mean_diff"),
        ({"massive_part": "signal"}, "advised against", "the massive part carries the trait"),
        ({"cleaning": {"mean_diff": contrast(-35, -15)}}, "advised against", "worse for mean_diff"),
        ({"cleaning": {"mean_diff": contrast(-5, 5)}}, "not needed", "tie"),
        ({"cleaning": {"mean_diff": contrast(-5, 15)}}, NOT_ENOUGH, "Not enough evidence"),
        ({"cleaning": {}}, NOT_ENOUGH, "Not enough evidence"),
        ({"cleaning": {}, "massive_part": "none"}, "changes nothing", "no massive dims"),
    ],
)
def test_cleaning_is_advised_only_where_it_is_better_and_never_where_the_massive_part_is_signal(changed, cleaning, words):
    found = recommend([evidence(**changed), evidence("b", **changed)])
    assert found.cleaning == cleaning
    assert words in found.findings[1].sentence


def test_a_tie_on_a_trait_where_nothing_steers_does_not_say_that_cleaning_is_not_needed() -> None:
    """Two vectors without an effect tie. A difference needs no effect of the leader."""
    tie = {"mean_diff": contrast(-3, 3)}
    idle = evidence(leader_gain=between(-4, 3), cleaning=tie, massive_part="unclear")
    for others in ([], [dataclasses.replace(idle, trait="b")], [evidence("b", cleaning=tie)]):
        found = recommend([idle, *others])
        assert found.cleaning == NOT_ENOUGH
        assert "refusal: no reliable effect; the best gain is [-4.0, +3.0]." in found.findings[1].because
    assert recommend([dataclasses.replace(idle, cleaning={"mean_diff": contrast(15, 35)})]).cleaning == "advised"
    assert recommend([dataclasses.replace(idle, cleaning={"mean_diff": contrast(-35, -15)})]).cleaning == "advised against"
    assert recommend([evidence(cleaning=tie)]).cleaning == "not needed"


def test_signal_for_one_trait_is_enough_to_advise_against_cleaning_though_it_helps_another() -> None:
    found = recommend([evidence(), evidence("b", massive_part="signal")])
    assert found.cleaning == "advised against"
    assert "(b)" in found.findings[1].sentence
    assert "refusal, mean_diff: cleaned minus plain +25.0 [+15.0, +35.0]" in found.findings[1].because


def test_a_judge_that_labels_contradict_gives_no_recommendation() -> None:
    assert recommend(BOTH, agreement=0.6).method == "mean_diff_rownorm"
    doubted = recommend(BOTH, agreement=0.59)
    assert (doubted.method, doubted.cleaning) == (None, NOT_ENOUGH)
    assert "0.59" in doubted.findings[0].because


@pytest.mark.parametrize(
    ("contrasts", "answer"),
    [
        ({"mean_diff": contrast(-40, -20)}, "no"),
        ({"mean_diff": contrast(-4, 4)}, "yes"),
        ({"mean_diff": contrast(-12, 4)}, "unclear"),
        ({}, "unclear"),
    ],
)
def test_mean_diff_is_viable_where_it_ties_at_equal_dose(contrasts, answer):
    assert mean_diff_viable([evidence(contrasts=contrasts)])[0] == answer


def test_mean_diff_is_not_viable_when_it_fails_one_trait_and_leads_another() -> None:
    answer, why = mean_diff_viable([evidence(), evidence("b", leader="mean_diff", contrasts={})])
    assert answer == "no"
    assert why == "refusal: -30.0 [-40.0, -20.0] against probe at equal dose; b: leads, gain [+50.0, +70.0]"
