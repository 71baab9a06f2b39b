"""Writes results.jsonl: a steering's runs on its test questions in trait-interp's schema, for use in notebooks written for trait-interp.

A header, the baseline, then one line per run (`terms.documents.trait_interp`). Every timestamp is null, because files with a time in them are
never the same twice. A steering writes every line; a rescore replaces the scores in the lines of an earlier file. Pure functions.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from terms.documents.judge import JudgeIdentity
from terms.documents.reading import read_results
from terms.documents.trait_interp import (
    HeaderJudge,
    ResultsBaseline,
    ResultsHeader,
    ResultsRun,
    RunScores,
    ScoredLine,
    WeightedVector,
)
from terms.documents.writing import json_lines
from terms.specs import SteeringSpec
from workers.science.scores import mean
from workers.steering.runs import Run

SUCCESS = 50
"""Trait score above which an answer counts as a success in trait-interp."""


def results_lines(spec: SteeringSpec, runs: Sequence[Run], base: Run, judge: JudgeIdentity, direction: str) -> bytes:
    """The bytes of results.jsonl. `base` is the run without steering; unsteered runs and runs on sets other than `base`'s are left out."""
    questions = [question.question for question in base.spec.questions]
    header: ResultsHeader = {
        "type": "header",
        "trait": spec["trait"]["name"],
        "direction": direction,
        "steering_model": spec["model"],
        "steering_experiment": None,
        "vector_source": {"model": spec["model"], "experiment": None, "trait": spec["trait"]["name"]},
        "eval": _header_judge(judge),
        "prompts_file": None,
        "prompts_hash": hashlib.sha256(json.dumps(questions).encode()).hexdigest(),
        "n_questions": len(questions),
    }
    baseline: ResultsBaseline = {"type": "baseline", **_scored(base, base, judge, direction)}
    steered: list[ResultsRun] = [
        {"config": {"vectors": _vectors(run)}, **_scored(run, base, judge, direction)}
        for run in runs
        if run.spec.subject is not None and run.spec.set == base.spec.set
    ]
    return json_lines([header, baseline, *steered])


def rescored_results_lines(old: bytes, steered: Sequence[Run], base: Run, judge: JudgeIdentity) -> bytes:
    """The bytes of results.jsonl with new scores: `steered` are the runs of the steering's lines in `old`, in their order."""
    header, baseline, lines = read_results(old)
    direction = header["direction"]
    new_header: ResultsHeader = {**header, "eval": _header_judge(judge)}
    new_baseline: ResultsBaseline = {**baseline, **_scored(base, base, judge, direction)}
    new: list[ResultsRun] = [{**line, **_scored(run, base, judge, direction)} for line, run in zip(lines, steered, strict=True)]
    return json_lines([new_header, new_baseline, *new])


def _header_judge(judge: JudgeIdentity) -> HeaderJudge:
    method = "logprob" if judge.get("kind") in ("openai", "local") else "classifier"
    return {"model": judge["name"], "method": method, "trait_judge": judge.get("prompt_hash")}


def _vectors(run: Run) -> list[WeightedVector]:
    subject = run.spec.subject
    assert subject is not None
    return [
        {
            "layer": push.layer,
            "component": push.component,
            "position": subject.position,
            "method": subject.method,
            "weight": push.coefficient,
        }
        for push in run.spec.pushes
    ]


def _scored(run: Run, base: Run, judge: JudgeIdentity, direction: str) -> ScoredLine:
    """The part of a run's line that depends on the judge; scores of failed answers are left out, as in trait-interp."""
    scored = run.trait[~np.isnan(run.trait)]
    change = mean(run.trait - base.trait)
    result: RunScores = {
        "trait_mean": _round(mean(run.trait)),
        "trait_std": _round(float(scored.std())) if len(scored) else None,
        "success_rate": round(float((scored > SUCCESS).mean()), 4) if len(scored) else None,
        "min_score": _round(float(scored.min())) if len(scored) else None,
        "max_score": _round(float(scored.max())) if len(scored) else None,
        "coherence_mean": _round(mean(run.coherence)),
        "n": len(scored),
        "delta": None if change is None else _round(0.0 - change if direction == "negative" else change),
    }
    return {"result": result, "eval": {"trait_judge": judge.get("prompt_hash")}, "timestamp": None}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
