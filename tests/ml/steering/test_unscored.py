"""Answers that the judge could not score: they are counted, and a missing score is never a 0. 24 questions, one cluster each."""

import dataclasses
import json
import math
from collections import Counter

import pytest
import torch

from tests.judges.endpoint import Body, Fault, Request, completion, rating, serving
from tests.ml.handlers.test_extraction_handler import files
from tests.ml.steering_jobs import FEW, NO_CONTROLS, Files, _fitted_once, extracted, severe, steer_spec
from tests.ml.steering_jobs import context as context_of
from workers.handlers import steering
from workers.job import JobFault
from workers.judges.base import NO_SCALE
from workers.lm.model import LanguageModel
from workers.science.search import UNSCORED
from workers.steering.effects import Scoring, coherence_of, effect_of
from workers.steering.groups import Searched
from workers.steering.judge_usable import check_failures
from workers.steering.questions import Question
from workers.steering.reference_protocol import best_of
from workers.steering.rescoring import StoredGroup
from workers.steering.runs import Answer, Run, RunSpec
from workers.steering.searching import choose, leader_of
from workers.steering.stages import check_scored
from workers.steering.subjects import Subject, part
from workers.steering.summary import contrasts, decomposition_facts

__all__ = ["_fitted_once", "extracted", "severe"]

QUESTIONS = [Question(i, "selection", f"{i} ?", None, f"c{i}", (1,)) for i in range(24)]
SCORING = Scoring(70.0, 1, 0)


def run(label: str, trait: float | None, coherence: float | None, *, unscored: int = 0, why: str = "low_mass") -> Run:
    """All answers have these scores, but for the first `unscored`, which have no coherence."""
    raw = {"failures": {"coherence": why}}
    answers = [
        Answer((1,), "x", True, True, trait, None if i < unscored else coherence, None, raw) for i in range(len(QUESTIONS))
    ]
    return Run(RunSpec(QUESTIONS, label), tuple(answers), {"fires": 1})


BASE = run("unsteered", 10.0, 90.0)


def test_an_answer_without_a_coherence_is_counted_as_failed() -> None:
    assert effect_of(run("a", 60.0, 90.0, unscored=3), BASE, SCORING)["failed"] == 3
    assert effect_of(run("a", None, 90.0, unscored=3), BASE, SCORING)["failed"] == 24
    check_failures([BASE, run("a", 60.0, 90.0, unscored=9)])  # 9 of 48 are 19 %
    with pytest.raises(JobFault, match="judge_unusable: The judge gave no score of trait or coherence for 21 % of 48 answers"):
        check_failures([BASE, run("a", 60.0, 90.0, unscored=10)])
    blind = [run("a", 60.0, 90.0, unscored=24)] * 4 + [run("b", 60.0, 90.0, unscored=1)]
    with pytest.raises(JobFault, match=r"for 20\.2 % of 480 answers \(at most 20 % may fail\)"):
        check_failures([BASE] * 15 + blind)


def test_two_vectors_are_compared_on_every_question_that_both_have_a_score_for() -> None:
    """The unsteered scores cancel; five missing ones left 19 of 24 clusters, and no verdict. So it is over refits and for the two arms."""
    base = run("unsteered", 10.0, 90.0)
    base = dataclasses.replace(
        base, answers=tuple(dataclasses.replace(a, trait=None if i < 5 else 10.0) for i, a in enumerate(base.answers))
    )
    strong, weak = run("strong", 80.0, 90.0), run("weak", 50.0, 90.0)
    for refits in ({}, {1: 0.0, 2: 1.0}):
        groups = {
            name: StoredGroup(
                best, {"dose": best}, {draw: run(f"{name} {draw}", score + more, 90.0) for draw, more in refits.items()}
            )
            for name, best, score in (("p/r/strong", strong, 80.0), ("p/r/weak", weak, 50.0))
        }
        [contrast] = contrasts(groups, "p/r/strong", base, SCORING, judged=True)["dose"]
        assert (contrast["difference"], contrast["verdict"]) == (-30.0, "worse")
    arms = {"clean": weak, "massive": weak, "both": strong}
    on_top = decomposition_facts(arms, {}, base, SCORING, judged=True)["on_top"]
    assert on_top is not None
    assert on_top["low"] > 0


def test_a_judge_without_any_coherence_is_usable() -> None:
    """A scale without length scores only empty and broken texts, by rule; a judge may score no text at all."""
    bare = run("a", 60.0, 0.0, unscored=23, why=NO_SCALE)
    assert (bare.failed, coherence_of(bare)) == (0, 0.0)
    assert coherence_of(run("a", 60.0, None, unscored=24, why=NO_SCALE)) == 0
    check_failures([bare, bare])
    check_failures([run("unsteered", 10.0, None), run("a", 60.0, None)])


def test_a_run_without_a_score_is_neither_incoherent_nor_without_gain() -> None:
    blind = run("blind", 60.0, None)
    assert math.isnan(coherence_of(blind))
    assert math.isnan(SCORING.mean_joint_gain(blind, BASE))
    losing = run("losing", 0.0, 90.0)
    assert best_of([run("unread", None, 90.0), losing], SCORING, BASE) is losing, "a gain of -10 is more than none known"
    assert best_of([blind, run("noise", 60.0, 0.0)], SCORING, BASE).spec.label == "noise"


def test_a_vector_without_any_score_cannot_lead_and_the_job_says_why() -> None:
    vector = part(torch.eye(4)[0], 1, "residual", (), 1.0)
    subject = Subject("probe/1", "probe", "probe", None, "residual", (1,), (vector,))
    blind = Searched(subject, (run("blind", 60.0, None),), None, UNSCORED)
    chosen = choose([blind], BASE, SCORING)
    assert leader_of(chosen, BASE, SCORING) is None
    with pytest.raises(JobFault, match="judge_unusable: The judge scored no dose of probe/1"):
        check_scored([blind])
    check_scored([Searched(subject, (), None, "no clean dose")])


@pytest.mark.parametrize("every", [2, 8])
def test_a_job_counts_coherences_that_its_judge_did_not_give(severe: LanguageModel, extracted: Files, every: int) -> None:
    """Half of them: one reply of four, which the judge itself forgives. An eighth: a result that counts them."""

    def behave(request: Request, before: int) -> Body | Fault:
        fails = "The text:" in request.text and sum(request.text.encode()) % every == 0
        return completion({"Sure": 0.9}) if fails else rating(request)

    with serving(behave) as endpoint:
        judge = {"name": "house", "kind": "openai", "model": "j", "url": endpoint.url, "key_env": None, "options": {}}
        spec = steer_spec(
            severe, judge=judge, matched=["coherence"], doses=[0.3], decomposition=False, controls=NO_CONTROLS, **FEW
        )
        context = context_of(severe, extracted)
        if every == 2:
            with pytest.raises(JobFault, match="judge_unusable: The judge gave no score of trait or coherence"):
                steering.run(spec, context)
            return
        written = files(steering.run(spec, context))
    answers = [json.loads(line) for line in written["responses.jsonl"].splitlines()]
    missing = Counter(one["run"] for one in answers if one["coherence"] is None)
    assert missing
    assert {row["run"]: row["failed"] for row in map(json.loads, written["runs.jsonl"].splitlines()) if row["failed"]} == missing
