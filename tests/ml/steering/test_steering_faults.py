"""Faults of a steering job before it generates anything: each names the question, the vector or the layer at fault. Limits take questions from
the clusters in turn."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.ml.fake_context import FakeContext
from tests.ml.steering_jobs import NO_CONTROLS, Files, context, extracted, severe, steer_spec
from tests.ml.steering_jobs import TRAIT as REFUSAL
from tests.ml.tiny_models import CONTEXT, HIDDEN, LAYERS
from workers.handlers import steering
from workers.job import JobFault
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.steering.questions import off_target_questions, question_sets
from workers.steering.units import units_of
from workers.steering.vectors import Named, load_subjects

__all__ = ["extracted", "severe"]
Lms = Callable[..., LanguageModel]
LONG = "word " * 600
"""More tokens than the context of the shipped models."""
TRAIT: dict[str, Any] = {
    "steering": {
        "questions": [
            {"question": f"{cluster}{i} ?", "split": split, "cluster": cluster}
            for split, clusters in (("selection", "ab"), ("test", "cd"))
            for cluster in clusters
            for i in range(2)
        ]
    },
    "paraphrases": [],
}
"""Two clusters of two questions in each set, the clusters one after another."""


def spec_with(**changes: Any) -> dict[str, Any]:
    """The fields of a spec from which its questions follow."""
    return {"max_new_tokens": 4, "questions": None, "selection_limit": None, "test_limit": None, "extra_sets": []} | changes


def named(vector: torch.Tensor, *, layer: int = 1, component: str = "residual", method: str = "probe") -> Named:
    return Named("response[:5]", component, method, layer, vector, f"response[:5]/{component}/{method}/{layer}", None)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"max_new_tokens": CONTEXT}, "prompt_too_long", "Question 0 of the selection set"),
        (
            {"questions": {"selection": [{"question": "a ?"}], "test": [{"question": "b ?"}, {"question": "c" * CONTEXT}]}},
            "prompt_too_long", f"Question 1 of the test set: A prompt of {CONTEXT + 1} tokens and 4 new ones make {CONTEXT + 5}",
        ),
        ({"questions": {"selection": [], "test": [{"question": "b ?"}]}}, "no_questions", "no selection question"),
        ({"extra_sets": ["paraphrases"]}, "no_questions", "no paraphrases question"),
    ],
)  # fmt: skip
def test_bad_question_sets_are_refused_and_named(tiny_lm: Lms, changes: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(ModelFault) as fault:
        question_sets(tiny_lm("llama"), spec_with(**changes), TRAIT)
    assert fault.value.code == code
    assert words in fault.value.sentence


def test_an_off_target_trait_without_a_test_question_is_named(tiny_lm: Lms) -> None:
    [question] = off_target_questions(tiny_lm("llama"), spec_with(test_limit=1), TRAIT, "calm")
    assert question.set == "off_target:calm"
    untested = {"steering": {"questions": [one for one in TRAIT["steering"]["questions"] if one["split"] == "selection"]}}
    with pytest.raises(ModelFault, match="calm, a trait of off_target, has no test question") as fault:
        off_target_questions(tiny_lm("llama"), spec_with(), untested, "calm")
    assert fault.value.code == "no_questions"


def test_limits_take_questions_from_the_clusters_in_turn(tiny_lm: Lms) -> None:
    sets = question_sets(tiny_lm("llama"), spec_with(selection_limit=3, test_limit=2), TRAIT)
    assert {name: [one.question for one in sets[name]] for name in ("selection", "test")} == {
        "selection": ["a0 ?", "a1 ?", "b0 ?"],
        "test": ["c0 ?", "d0 ?"],
    }


@pytest.mark.parametrize(
    ("one", "code", "words"),
    [
        (named(torch.ones(HIDDEN + 1)), "wrong_width", "residual/probe/1"),
        (named(torch.ones(HIDDEN), component="k_proj"), "wrong_width", "k_proj/probe/1"),
        (named(torch.ones(HIDDEN), layer=LAYERS), "layer_out_of_range", f"Layer {LAYERS}"),
        (named(torch.ones(HIDDEN), component="embedding"), "unknown_component", "'embedding'"),
        (named(torch.zeros(HIDDEN)), "vector_not_finite", "residual/probe/1"),
        (named(torch.full((HIDDEN,), float("inf"))), "vector_not_finite", "residual/probe/1"),
        # controls alone are not steered with
        (named(torch.ones(HIDDEN), method="shuffled__of-probe"), "no_vectors", "no vector of these methods"),
    ],
)
def test_bad_vectors_are_refused_with_their_names(tiny_lm: Lms, one: Named, code: str, words: str) -> None:
    units = {(one.component, one.layer): 1.0}
    with pytest.raises(ModelFault) as fault:
        load_subjects(tiny_lm("llama"), [one], units=units, massive={}, combine=False, asked=None)
    assert fault.value.code == code
    assert words in fault.value.sentence


@pytest.mark.parametrize("combine", [False, True])
def test_two_vectors_of_one_place_are_refused(tiny_lm: Lms, combine: bool) -> None:
    """A spec from before they were refused at submission may have them; the same vector twice is accepted."""
    first, second = (replace(named(torch.eye(HIDDEN)[i]), id=f"vec_{i}") for i in range(2))
    settings: dict[str, Any] = {"units": {("residual", 1): 1.0}, "massive": {1: ()}, "combine": combine, "asked": None}
    with pytest.raises(ModelFault, match=r"vec_0 and vec_1 are both response\[:5\]/residual/probe/1") as fault:
        load_subjects(tiny_lm("llama"), [first, second], **settings)
    assert fault.value.code == "same_place"
    assert load_subjects(tiny_lm("llama"), [first, first], **settings).subjects


def test_a_layer_that_was_not_calibrated_has_no_unit_of_dose(tiny_lm: Lms) -> None:
    calibration = {"aggregate": {"clean_norms": {"0": 1.0, "2": 1.5}}}
    assert units_of(tiny_lm("llama"), [("residual", 2)], calibration, []) == {("residual", 2): 1.5}
    with pytest.raises(ModelFault, match=r"layer 1, .*Its layers are 0, 2"):
        units_of(tiny_lm("llama"), [("residual", 1)], calibration, [])


@pytest.mark.parametrize("late", ["definition", "off_target"])
def test_questions_of_the_last_stages_that_do_not_fit_are_named_before_any_answer(
    severe: LanguageModel, extracted: Files, late: str
) -> None:
    """Each question fits alone; the definition before it, or the other trait's, does not."""
    trait = json.loads(REFUSAL.data)
    other = trait | {
        "name": "long",
        "steering": trait["steering"] | {"questions": [{"question": LONG, "split": "test", "cluster": "c"}]},
    }
    spec = steer_spec(severe, controls=NO_CONTROLS)
    if late == "definition":
        trait["definition"] = LONG
        spec["controls"] = NO_CONTROLS | {"prompt_only": True}
        said = "prompt-only control puts the trait's definition before each question. Question 0 of the test set: .* shorter definition"
    else:
        spec["off_target"] = [{"trait": {"name": "long", "version": "other"}, "extraction": "job_ext"}]
        said = "Question 0 of the off_target:long set"
    blobs = {REFUSAL.version: json.dumps(trait).encode(), "other": json.dumps(other).encode()}
    asked = FakeContext(severe, blobs=blobs, artifacts=extracted)
    with pytest.raises(JobFault, match=said) as fault:
        steering.run(spec, asked)
    assert fault.value.code == "prompt_too_long"
    assert not asked.cells


class Planned(Exception):
    """Ends a job at its plan of batches; holds the planned rows."""


def test_batches_are_planned_for_the_memory_that_the_judge_leaves(
    severe: LanguageModel, extracted: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fitted judge keeps prompts in a quarter of a job's memory; a judge at an endpoint keeps nothing."""
    plan, budget = steering.batch_rows_for, 4 << 20

    def planned(lm: LanguageModel, prompt_tokens: int, new_tokens: int, budget_bytes: int) -> int:
        raise Planned(*(plan(lm, prompt_tokens, new_tokens, size) for size in (budget_bytes, budget)))

    monkeypatch.setattr(steering, "batch_rows_for", planned)
    rows: dict[str, tuple[int, int]] = {}
    for kind in ("reference", "phrases", "openai"):
        judge = steer_spec(severe)["judge"] | {"kind": kind}
        with pytest.raises(Planned) as stopped:
            steering.run(steer_spec(severe, judge=judge), context(severe, extracted, batch_budget_bytes=budget))
        rows[kind] = stopped.value.args
    assert rows["openai"][0] == rows["openai"][1]
    for left, whole in (rows["reference"], rows["phrases"]):
        assert whole / 2 < left < whole
