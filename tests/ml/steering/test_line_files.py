"""The bytes of the files of a steering that hold a line for each run or answer, and of those that a rescore makes of them."""

from typing import cast

import torch

from terms.documents.judge import JudgeIdentity
from terms.specs import SteeringSpec
from workers.judges.base import Score
from workers.lm.interventions import Push
from workers.steering.lines import rescored_run_lines, response_lines, run_lines
from workers.steering.questions import Question
from workers.steering.rescoring import scored_run, steered_in, stored_answers
from workers.steering.results_file import rescored_results_lines, results_lines
from workers.steering.runs import Answer, Run, RunSpec
from workers.steering.subjects import Subject, part

QUESTIONS = [
    Question(0, "test", "¿Qué?", None, "a", (1, 2)),
    Question(1, "test", "Why\u2028?", 'Be "brief".', "b", (3,), "so"),
]
VECTOR = torch.tensor([3.0, 4.0])
PROBE = Subject(
    "g/3", "g", "probe", "response[:5]", "residual", (3,), (part(VECTOR, 3, "residual", [0], 10.0),), ("vec_1",), ("k",)
)
PUSHES = (Push(3, "residual", VECTOR, 2.5, "add", "all", (0,), False),)
SPEC = cast("SteeringSpec", {"trait": {"name": "refusal"}, "model": "m"})


def run(spec: RunSpec, *scores: tuple[float | None, float | None]) -> Run:
    answers = tuple(
        Answer((7, place), f"n\u0304 {place}", True, place == 0, *score, None, {"log_likelihood": -1.5, "p": [1, 0, 0]})
        for place, score in enumerate(scores)
    )
    return Run(spec, answers, {"fires": 4, "mean_change": 2.5, "not_finite": 1} if spec.pushes else {})


BASE = run(RunSpec(QUESTIONS, "unsteered"), (10.0, 100.0), (20.5, 90.0))
STEERED = run(RunSpec(QUESTIONS, "g/3", PUSHES, PROBE, 0.2), (80.0, 70.0), (None, None))
OTHER = run(RunSpec([Question(0, "off_target:x", "?", None, "a", (1,))], "g/3", PUSHES, PROBE, 0.2), (1.0, 2.0))
RUNS = [BASE, STEERED, OTHER]
ROLES = {BASE.spec.id: ["unsteered"], STEERED.spec.id: ["test", "matched_dose"]}
JUDGE: JudgeIdentity = {"name": "reference", "version": "1", "prompt_hash": "ab"}
HOUSE: JudgeIdentity = {"name": "house", "kind": "openai", "model": "j"}
RESCORED = Score(50.0, None, 100.0, {"failures": {"coherence": "x"}})

RUN_LINES = """
{"run": "test-unsteered-30c1ae3d39", "n": 2, "trait": 15.25, "coherence": 95.0, "failed": 0, "roles": ["unsteered"],
    "set": "test", "label": "unsteered", "vector": null, "r": null, "c": null, "r_raw": null, "effect": {}, "tokens": 4}
{"run": "test-g_3-r0.2-540bdbfdb3", "n": 2, "trait": 80.0, "coherence": 70.0, "failed": 1, "roles": ["test",
    "matched_dose"], "set": "test", "label": "g/3", "vector": {"name": "g/3", "method": "probe", "layer": 3, "layers": [3],
    "component": "residual", "position": "response[:5]", "ids": ["vec_1"]}, "r": 0.2, "c": 2.5, "r_raw": 0.25,
    "effect": {"fires": 4, "mean_change": 2.5, "not_finite": 1}, "tokens": 4}
{"run": "off_target_x-g_3-r0.2-2f993bf108", "n": 1, "trait": 1.0, "coherence": 2.0, "failed": 0, "roles": [],
    "set": "off_target:x", "label": "g/3", "vector": {"name": "g/3", "method": "probe", "layer": 3, "layers": [3],
    "component": "residual", "position": "response[:5]", "ids": ["vec_1"]}, "r": 0.2, "c": 2.5, "r_raw": 0.25,
    "effect": {"fires": 4, "mean_change": 2.5, "not_finite": 1}, "tokens": 2}
"""
RESPONSE_LINES = """
{"run": "test-g_3-r0.2-540bdbfdb3", "set": "test", "question": "¿Qué?", "system_prompt": null, "cluster": "a",
    "text": "n\u0304 0", "trait": 80.0, "coherence": 70.0, "relevance": null, "raw": {"log_likelihood": -1.5, "p": [1, 0, 0]},
    "ended": true, "finite": true, "ids": [7, 0], "prompt_ids": [1, 2]}
{"run": "test-g_3-r0.2-540bdbfdb3", "set": "test", "question": "Why\u2028?", "system_prompt": "Be \\"brief\\".",
    "cluster": "b", "text": "n\u0304 1", "trait": null, "coherence": null, "relevance": null, "raw": {"log_likelihood": -1.5,
    "p": [1, 0, 0]}, "ended": true, "finite": false, "ids": [7, 1], "prompt_ids": [3], "expected": "so"}
"""
RESULTS_LINES = """
{"type": "header", "trait": "refusal", "direction": "negative", "steering_model": "m", "steering_experiment": null,
    "vector_source": {"model": "m", "experiment": null, "trait": "refusal"}, "eval": {"model": "reference",
    "method": "classifier", "trait_judge": "ab"}, "prompts_file": null,
    "prompts_hash": "9a82ee44d5cf68ea4bac439c31b74de54816eca4a2c6786369bcb6f19a362b73", "n_questions": 2}
{"type": "baseline", "result": {"trait_mean": 15.25, "trait_std": 5.25, "success_rate": 0.0, "min_score": 10.0,
    "max_score": 20.5, "coherence_mean": 95.0, "n": 2, "delta": 0.0}, "eval": {"trait_judge": "ab"}, "timestamp": null}
{"config": {"vectors": [{"layer": 3, "component": "residual", "position": "response[:5]", "method": "probe",
    "weight": 2.5}]}, "result": {"trait_mean": 80.0, "trait_std": 0.0, "success_rate": 1.0, "min_score": 80.0,
    "max_score": 80.0, "coherence_mean": 70.0, "n": 1, "delta": -70.0}, "eval": {"trait_judge": "ab"}, "timestamp": null}
"""
RESCORED_RUN_LINES = """
{"run": "test-unsteered-30c1ae3d39", "n": 2, "trait": 50.0, "coherence": 0.0, "failed": 1, "roles": ["unsteered"],
    "set": "test", "label": "unsteered", "vector": null, "r": null, "c": null, "r_raw": null, "effect": {}, "tokens": 4}
{"run": "test-g_3-r0.2-540bdbfdb3", "n": 2, "trait": 50.0, "coherence": 0.0, "failed": 1, "roles": ["test",
    "matched_dose"], "set": "test", "label": "g/3", "vector": {"name": "g/3", "method": "probe", "layer": 3, "layers": [3],
    "component": "residual", "position": "response[:5]", "ids": ["vec_1"]}, "r": 0.2, "c": 2.5, "r_raw": 0.25,
    "effect": {"fires": 4, "mean_change": 2.5, "not_finite": 1}, "tokens": 4}
"""
RESCORED_RESULTS_LINES = """
{"type": "header", "trait": "refusal", "direction": "negative", "steering_model": "m", "steering_experiment": null,
    "vector_source": {"model": "m", "experiment": null, "trait": "refusal"}, "eval": {"model": "house",
    "method": "logprob", "trait_judge": null}, "prompts_file": null,
    "prompts_hash": "9a82ee44d5cf68ea4bac439c31b74de54816eca4a2c6786369bcb6f19a362b73", "n_questions": 2}
{"type": "baseline", "result": {"trait_mean": 50.0, "trait_std": 0.0, "success_rate": 0.0, "min_score": 50.0,
    "max_score": 50.0, "coherence_mean": 0.0, "n": 2, "delta": 0.0}, "eval": {"trait_judge": null}, "timestamp": null}
{"config": {"vectors": [{"layer": 3, "component": "residual", "position": "response[:5]", "method": "probe",
    "weight": 2.5}]}, "result": {"trait_mean": 50.0, "trait_std": 0.0, "success_rate": 0.0, "min_score": 50.0,
    "max_score": 50.0, "coherence_mean": 0.0, "n": 2, "delta": 0.0}, "eval": {"trait_judge": null}, "timestamp": null}
"""


def joined(text: str) -> bytes:
    """The lines of the text, each of which continues where the next begins with spaces."""
    return text.removeprefix("\n").replace(",\n    ", ", ").encode()


def test_a_steering_writes_these_bytes() -> None:
    assert run_lines(RUNS, ROLES) == joined(RUN_LINES)
    assert response_lines([STEERED]) == joined(RESPONSE_LINES)
    assert results_lines(SPEC, RUNS, BASE, JUDGE, "negative") == joined(RESULTS_LINES)


def test_a_rescore_replaces_the_scores_alone() -> None:
    """The runs of the off-target matrix are not scored again, and have no line."""
    answers = stored_answers(response_lines([BASE, STEERED]))
    runs = {name: scored_run(name, rows, [RESCORED] * len(rows)) for name, rows in answers.items()}
    base = runs[BASE.spec.id]
    assert rescored_run_lines(joined(RUN_LINES), runs) == joined(RESCORED_RUN_LINES)
    steered = steered_in(joined(RUN_LINES), runs, base)
    assert rescored_results_lines(joined(RESULTS_LINES), steered, base, HOUSE) == joined(RESCORED_RESULTS_LINES)
