"""Which method leads a steering, and the contrasts with it. Controls never lead, methods of the cleaning ablation only if there are no others; a
cleaned method is compared with its own plain one; contrasts over refits share one simultaneous level. Pure: made scores, no model."""

import numpy as np
import pytest

from workers.science.contrasts import simultaneous_level
from workers.science.intervals import paired_interval, two_level
from workers.steering.effects import Scoring, effect_of
from workers.steering.groups import Searched
from workers.steering.questions import Question
from workers.steering.rescoring import StoredGroup
from workers.steering.runs import Answer, Run, RunSpec
from workers.steering.searching import leader_of
from workers.steering.subjects import Subject
from workers.steering.summary import contrasts, decomposition_facts

QUESTIONS = [Question(i, "selection", f"{i} ?", None, f"c{i}", (1,)) for i in range(10)]


def run(label: str, showing: int) -> Run:
    """A run in which that many of ten coherent answers show the trait."""
    scores = [100.0 if i < showing else 0.0 for i in range(len(QUESTIONS))]
    return Run(RunSpec(QUESTIONS, label), tuple(Answer((), "", True, True, score, 100.0, None, None) for score in scores))


@pytest.mark.parametrize(
    ("showing", "leads"),
    [
        ({"probe": 7, "mean_diff": 5}, "probe"),
        ({"probe": 7, "probe_randomdims1": 8, "probe_largest2": 9, "probe_pretop3": 10}, "probe"),
        ({"probe": 7, "probe_top1": 8, "mean_diff_cleaned": 6}, "probe_top1"),
        ({"probe": 1, "random": 9, "shuffled__of-probe": 9}, "probe"),
        ({"probe_pretop1": 7, "probe_pretop2": 8, "random": 9}, "probe_pretop2"),
        ({"random": 9}, None),
        # names that only begin like a control's are methods
        ({"probe": 1, "randomness_trait": 9}, "randomness_trait"),
        ({"probe": 1, "shuffled-deck": 9, "random__seed1": 10}, "shuffled-deck"),
        ({"random.walk": 1}, "random.walk"),
    ],
)
def test_the_leader_is_the_best_method_that_may_lead(showing: dict[str, int], leads: str | None) -> None:
    """With a random dim zeroed a vector is nearly the method's own, and it once led as often."""
    chosen = {
        method: Searched(Subject(method, method, method, None, "residual", (1,), ()), (), run(method, count))
        for method, count in showing.items()
    }
    assert leader_of(chosen, run("unsteered", 0), Scoring(70.0, 1, 0)) == leads


@pytest.mark.parametrize("parameters", ["", "__c10.0"])
def test_a_cleaned_method_is_compared_with_its_own_plain_one(parameters: str) -> None:
    """Three of ten answers more show the trait."""
    showing = {"mean_diff": 9, "probe__c2.0": 6, f"probe{parameters}": 2, f"probe_cleaned{parameters}": 5}
    compared = {f"prompt[-1]/residual/{method}": StoredGroup(run(method, count), {}, {}) for method, count in showing.items()}
    found = contrasts(compared, "prompt[-1]/residual/mean_diff", run("unsteered", 0), Scoring(70.0, 1, 0), judged=True)["best"]
    plain, cleaned = (f"prompt[-1]/residual/probe{suffix}{parameters}" for suffix in ("", "_cleaned"))
    assert [(one["b"], one["difference"]) for one in found if one["a"] == plain] == [(cleaned, 30.0)]


def test_contrasts_over_refits_hold_together() -> None:
    """Each of two contrasts over refits has the level at which both hold, as those over questions alone have. Refits are compared on the
    resamples that both methods have: one group lacks the first, another the last."""
    draw = np.random.default_rng(0)
    questions = [Question(i, "test", f"{i} ?", None, f"c{i}", (1,)) for i in range(24)]

    def scored(label: str) -> Run:
        scores = draw.uniform(0, 100, len(questions)).tolist()
        return Run(RunSpec(questions, label), tuple(Answer((), "", True, True, score, 100.0, None, None) for score in scores))

    base = scored("unsteered")
    compared = {
        group: StoredGroup(run, {"dose": run}, {k: scored(f"{group}, refit {k}") for k in draws})
        for group, draws in {"a": range(1, 6), "b": range(2, 7), "c": range(1, 6)}.items()
        if (run := scored(group))
    }
    found = contrasts(compared, "a", base, Scoring(70.0, 1, 0), judged=True)["dose"]
    gaps = {group: compared[group].best.trait - compared["a"].best.trait for group in ("b", "c")}
    clusters = [one.cluster for one in questions]
    level = simultaneous_level(list(gaps.values()), clusters)
    assert level > 0.96
    assert [one["b"] for one in found] == ["b", "c"]
    for one in found:
        own, leading = compared[one["b"]].refits, compared["a"].refits
        gaps_RQ = [own[k].trait - leading[k].trait for k in range(2 if one["b"] == "b" else 1, 6)]
        wanted = two_level(np.stack(gaps_RQ), clusters, level=level)
        assert wanted is not None
        assert one["refits"] == len(gaps_RQ)
        assert one["difference"] == pytest.approx(np.mean(gaps_RQ), abs=0.006), "of the refits, as its interval"
        assert one["difference_of_the_fit"] == pytest.approx(gaps[one["b"]].mean(), abs=0.006)
        assert (one["low"], one["high"]) == (pytest.approx(wanted.low, abs=0.006), pytest.approx(wanted.high, abs=0.006))


@pytest.mark.parametrize("refits", [0, 5])
def test_a_difference_that_is_not_seen_is_smaller_than_the_smallest_that_would_be(refits: int) -> None:
    """Of 24 contrasts with one leader, none is larger than the smallest detectable difference and not seen; each lies within its interval.
    Refits vary by 20 points."""
    draw = np.random.default_rng(0)
    questions = [Question(i, "test", f"{i} ?", None, f"c{i}", (1,)) for i in range(40)]

    def scored(label: str, mean: float) -> Run:
        scores = np.clip(draw.normal(mean, 25, len(questions)), 0, 100).tolist()
        return Run(RunSpec(questions, label), tuple(Answer((), "", True, True, score, 100.0, None, None) for score in scores))

    compared = {
        f"m{k}": StoredGroup(run, {"dose": run}, {n: scored(f"m{k}, refit {n}", 40 + draw.normal(0, 20)) for n in range(refits)})
        for k in range(25)
        if (run := scored(f"m{k}", 33 if k else 50))
    }
    found = contrasts(compared, "m0", scored("unsteered", 5), Scoring(70.0, 1, 0), judged=True)["dose"]
    unseen = [one for one in found if one["verdict"] == "not enough evidence"]
    assert unseen
    for one in found:
        assert one["low"] <= one["difference"] <= one["high"]
    for one in unseen:
        assert abs(one["difference"]) < one["smallest_detectable"]


def test_a_run_without_any_score_does_not_tie_with_itself() -> None:
    """Two methods with one vector share their run: they tie where it was scored."""
    unscored = Run(RunSpec(QUESTIONS, "same"), tuple(Answer((), "", True, True, None, None, None, None) for _ in QUESTIONS))
    for run_, verdict in ((run("same", 5), "ties"), (unscored, "not enough evidence")):
        compared = {name: StoredGroup(run_, {"dose": run_}, {}) for name in ("a", "b")}
        found = contrasts(compared, "a", run("unsteered", 0), Scoring(70.0, 1, 0), judged=True)["dose"]
        assert [one["verdict"] for one in found] == [verdict]


def test_an_effect_counts_the_questions_and_clusters_that_were_scored() -> None:
    """Of ten questions in five clusters, three have no score under steering, among them both of one cluster."""
    questions = [Question(i, "test", f"{i} ?", None, f"c{i // 2}", (1,)) for i in range(10)]

    def scored(label: str, unscored: set[int]) -> Run:
        answers = (Answer((1,), "", True, True, None if i in unscored else 50.0, 100.0, None, {}) for i in range(10))
        return Run(RunSpec(questions, label), tuple(answers))

    found = effect_of(scored("steered", {0, 1, 5}), scored("unsteered", set()), Scoring(70.0, 1, 0))
    assert (found["n"], found["clusters"], found["scored"]) == (10, 5, {"n": 7, "clusters": 4})


def test_a_lower_limit_just_above_0_is_stored_above_0() -> None:
    """A study counts an effect as reliable by the stored limit; 0.003 was stored as 0.0. So of the massive part on top of the clean one."""
    questions = [Question(i, "test", f"{i} ?", None, f"c{i:02}", (1,)) for i in range(24)]

    def scored(label: str, scores: np.ndarray) -> Run:
        answers = tuple(Answer((1,), "", True, True, float(score), 100.0, None, {}) for score in scores)
        return Run(RunSpec(questions, label), answers)

    gains = np.random.default_rng(0).normal(12.0, 20.0, 24).clip(-60, 60)
    lowest = paired_interval(gains, [question.cluster for question in questions])
    assert lowest is not None
    base = scored("unsteered", np.full(24, 50.0 - lowest.low))
    steered = scored("steered", 50.0 + gains - 2 * lowest.low + 0.003)
    effect = effect_of(steered, base, Scoring(70.0, 1, 0))
    assert effect["delta_low"] == pytest.approx(0.003, abs=1e-6)
    arms = {"clean": base, "massive": base, "both": steered}
    on_top = decomposition_facts(arms, {}, base, Scoring(70.0, 1, 0), judged=True)["on_top"]
    assert on_top is not None
    assert on_top["low"] == effect["delta_low"]
