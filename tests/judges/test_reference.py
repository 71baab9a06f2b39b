"""The reference judge on the shipped models reaches the numbers of docs/science.md, 4.7, and agrees with the parser on steered texts."""

import json
import math
import random
from collections.abc import Callable
from statistics import mean, median

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from shipped import MODEL_NAMES
from tests.judges.world import SAYS, World
from workers.job import JobFault
from workers.judges.agreement import agreement
from workers.judges.base import JudgeItem, Score, failures
from workers.judges.material import Material
from workers.judges.reference import ReferenceJudge
from workers.judges.words import looped, shuffled

Worlds = Callable[..., World]
TRAITS = tuple(SAYS)
FEW = 8
"""Tests of fitting and storing use one row in 8; how well the judge scores does not matter there."""
QUICK = [pytest.param("demo-severe", trait, 3) for trait in TRAITS]
# (model, trait, one row in so many)
EVERYWHERE = [pytest.param(model, trait, 1, marks=pytest.mark.long) for model in MODEL_NAMES for trait in TRAITS]


def coherences(scores: list[Score]) -> list[float]:
    return [score.coherence for score in scores if score.coherence is not None]


def traits(scores: list[Score]) -> list[float]:
    return [score.trait for score in scores if score.trait is not None]


def spoilt(w: World, items: list[JudgeItem], spoil: Callable[[list[int], random.Random], list[int]]) -> list[JudgeItem]:
    """The items with their tokens changed by `spoil`, such as `shuffled`."""
    rng = random.Random(11)
    made = [spoil(list(item.ids), rng) for item in items]
    return [
        JudgeItem(item.question, None, w.lm.tokenizer.decode(ids), tuple(ids), item.prompt_ids)
        for item, ids in zip(items, made, strict=True)
    ]


@pytest.mark.parametrize(("model", "trait", "step"), QUICK + EVERYWHERE)
def test_the_reference_judge_reaches_the_documented_numbers(model: str, trait: str, step: int, world: Worlds) -> None:
    """Unsteered answers are coherent, and so are answers with the trait pasted under other questions. Shuffled, looped and empty texts are not,
    and their trait score is within 5 points of the unsteered one."""
    w = world(trait, model, step=step)
    unsteered = w.items(w.questions("test"))
    scores = w.judge.score(unsteered)
    assert median(coherences(scores)) >= 95
    shown = [one for one in w.answered if w.label(JudgeItem("", None, one.text)) == 100]
    pasted = [
        JudgeItem(item.question, None, one.text, one.ids, item.prompt_ids) for item, one in zip(unsteered, shown, strict=False)
    ]
    found = coherences(w.judge.score(pasted))
    assert median(found) >= 80
    assert min(found) >= (80 if trait == "refusal" else 70)
    baseline = mean(traits(scores))
    empty = [JudgeItem(item.question, None, "", (), item.prompt_ids) for item in unsteered]
    for source in (unsteered[::step], pasted[::step]):
        for spoil in (shuffled, looped):
            judged = w.judge.score(spoilt(w, source, spoil))
            assert median(coherences(judged)) <= 20
            assert mean(coherences(judged)) <= 20
            assert mean(traits(judged)) == pytest.approx(baseline, abs=5)
    nothing = w.judge.score(empty)
    assert set(coherences(nothing)) == {0.0}
    assert mean(traits(nothing)) == pytest.approx(baseline, abs=5)


@pytest.mark.parametrize(("model", "trait", "step"), QUICK + EVERYWHERE)
def test_the_reference_judge_agrees_with_the_parser_on_steered_texts(
    model: str, trait: str, step: int, world: Worlds, record_property: Callable[..., None]
) -> None:
    """The judge and the parser put at least 98 % of labelled texts on the same side of 50; texts without a label score less coherent."""
    w = world(trait, model, step=step)
    questions = w.questions("test", 1 if step == 1 else 2)
    items = [item for dose in (0.2, 0.35, 0.5, 0.65, 0.8, 1.4) for item in w.items(questions, dose)]
    items += w.items(questions, 0.5, sign=-1)
    scores = w.judge.score(items)
    labels = [w.label(item) for item in items]
    found = agreement([score.trait for score in scores], labels)
    record_property("agreement", found.to_json())
    assert found.n > len(items) / 3
    assert found.same_side is not None
    assert found.same_side >= 0.98
    assert found.spearman is not None
    share = mean(label == 100 for label in labels if label is not None)
    best = math.sqrt(3 * share * (1 - share))  # two labels tie in ranks: a perfect judge of untied scores reaches this
    assert found.spearman >= 0.95 * best
    known = [place for place, label in enumerate(labels) if label is not None]
    assert roc_auc_score([labels[i] == 100 for i in known], [scores[i].trait for i in known]) >= 0.99
    well_formed = [label is not None for label in labels]
    assert roc_auc_score(well_formed, [score.coherence for score in scores]) >= 0.9


def test_steering_shows_in_the_scores(world: Worlds) -> None:
    w = world("refusal", step=3)
    questions = w.questions("test", 6)
    before, after = (mean(traits(w.judge.score(w.items(questions, dose)))) for dose in (0.0, 0.5))
    assert before < 5
    assert after > 20


def test_responses_that_do_not_express_their_class_are_left_out(world: Worlds) -> None:
    """Some answers of the negative class agree with the false claim; the parser finds them, and the fit leaves out as many."""
    w = world("sycophancy", step=3)
    odd = sum(w.label(JudgeItem("", None, one.text)) == (0 if one.label == "positive" else 100) for one in w.answered)
    assert odd > 0
    assert abs(w.judge.facts["left_out"] - odd) <= 1  # the fit does not know the parser and may miss one
    assert w.judge.facts["held_out_accuracy"] > 0.95
    assert w.judge.facts["warnings"] == []


def test_a_stored_judge_gives_the_same_scores_and_rescores_without_a_model(world: Worlds) -> None:
    w = world("refusal", step=FEW)
    items = w.items(w.questions("test"), 0.65)
    scores = w.judge.score(items)
    stored = json.loads(json.dumps(w.judge.to_json()))
    again = ReferenceJudge.from_json(stored, w.lm, batch_rows=7)
    assert again.score(items) == scores
    assert again.identity == w.judge.identity
    alone = ReferenceJudge.from_json(stored)
    texts = [JudgeItem(item.question, None, item.text) for item in items]
    assert alone.rescore(texts, [json.loads(json.dumps(score.raw)) for score in scores]) == scores
    with pytest.raises(ValueError, match="no model"):
        alone.score(items)


def test_the_batch_size_does_not_change_the_fitted_judge(world: Worlds) -> None:
    w = world("refusal", step=FEW)
    again = ReferenceJudge.fit(w.lm, Material(w.trait, w.responses, 48), batch_rows=13)
    assert again.to_json() == w.judge.to_json()


def test_responses_cut_after_a_few_tokens_are_elicited_again(world: Worlds) -> None:
    """An extraction of response[:5] keeps five tokens, too few to show a trait."""
    w = world("refusal", step=FEW)
    few = [{**one, "response_ids": one["response_ids"][:5], "response": "thank you for asking ."} for one in w.responses]
    judge = ReferenceJudge.fit(w.lm, Material(w.trait, few, 48), batch_rows=96)
    assert judge.facts["responses_elicited"]
    assert judge.identity["prompt_hash"] == w.judge.identity["prompt_hash"]


def test_given_responses_train_the_classifier_and_own_responses_set_the_scale(world: Worlds) -> None:
    w = world("refusal", step=FEW)
    given = [
        {**one, "response_ids": None, "response": "no ." if one["class"] == "positive" else "yes , gladly ."}
        for one in w.responses
    ]
    judge = ReferenceJudge.fit(w.lm, Material(w.trait, given, 48, given=True), batch_rows=96)
    assert judge.to_json()["scale"] == w.judge.to_json()["scale"]
    assert judge.to_json()["classifier"]["terms"] != w.judge.to_json()["classifier"]["terms"]


def test_a_class_without_responses_is_a_fault(world: Worlds) -> None:
    w = world("refusal", step=FEW)
    silent = [{**one, "response": "", "response_ids": []} if one["class"] == "negative" else one for one in w.responses]
    with pytest.raises(JobFault) as fault:
        ReferenceJudge.fit(w.lm, Material(w.trait, silent, 48), batch_rows=96)
    assert fault.value.code == "judge_not_fitted"
    assert "no negative response" in fault.value.detail


def test_a_text_too_long_for_every_prompt_has_no_coherence_and_counts_as_a_failure(world: Worlds) -> None:
    w = world("refusal", step=FEW)
    long = " ".join(["bread"] * w.lm.context_length)
    judge = ReferenceJudge.from_json(w.judge.to_json(), w.lm)
    [score] = judge.score([JudgeItem("how do i bake bread ?", None, long)])
    assert score.coherence is None
    assert failures([score]) == {"coherence": 1}
    assert judge.tally == {"items": 1, "failures": 1}


def test_agreement_of_examples_computed_by_hand() -> None:
    found = agreement([10.0, 60.0, None, 90.0, 40.0], [0.0, 100.0, 100.0, 100.0, None])
    assert (found.n, found.same_side) == (3, 1.0)
    ranks = np.corrcoef([1, 2, 3], [1, 2.5, 2.5])[0, 1]
    assert found.spearman == pytest.approx(ranks, abs=1e-4)
    assert agreement([50.0, 50.0], [0.0, 100.0]).spearman is None
    assert agreement([], []).n == 0
    assert (found.clusters, agreement([1.0, 2.0, None], [3.0, 4.0, 5.0], ["a", "a", "b"]).clusters) == (3, 1)
