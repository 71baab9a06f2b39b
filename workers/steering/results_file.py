"""Writes results.jsonl: a steering's runs on its test questions in trait-interp's schema, for use in notebooks written for trait-interp.

A header, the baseline, then one line per run. Every timestamp is null, because files with a time in them are never the same twice. Files and
experiments, which a service lacks, are null too. `delta` is our addition: the gain in the requested direction, as in summary.json.
"""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from terms.documents.steering import JudgeIdentity
from terms.specs import SteeringSpec
from terms.values import JsonObject
from workers.science.scores import mean
from workers.steering.runs import Run

SUCCESS = 50
"""Trait score above which an answer counts as a success in trait-interp."""


def reference_lines(spec: SteeringSpec, runs: Sequence[Run], base: Run, judge: JudgeIdentity, direction: str) -> bytes:
    """The bytes of the whole file. Runs on sets other than `base`'s are left out."""
    questions = [question.question for question in base.spec.questions]
    header: JsonObject = {
        "type": "header",
        "trait": spec["trait"]["name"],
        "direction": direction,
        "steering_model": spec["model"],
        "steering_experiment": None,
        "vector_source": {"model": spec["model"], "experiment": None, "trait": spec["trait"]["name"]},
        "eval": {"model": judge["name"], "method": judge_method(judge), "trait_judge": judge.get("prompt_hash")},
        "prompts_file": None,
        "prompts_hash": hashlib.sha256(json.dumps(questions).encode()).hexdigest(),
        "n_questions": len(questions),
    }
    lines: list[JsonObject] = [header, {"type": "baseline", **reference_scores(base, base, judge, direction)}]
    for run in runs:
        subject = run.spec.subject
        if subject is None or run.spec.set != base.spec.set:
            continue
        vectors = [
            {
                "layer": push.layer,
                "component": push.component,
                "position": subject.position,
                "method": subject.method,
                "weight": push.coefficient,
            }
            for push in run.spec.pushes
        ]
        lines.append({"config": {"vectors": vectors}, **reference_scores(run, base, judge, direction)})
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)


def judge_method(judge: JudgeIdentity) -> str:
    """How the judge scores, in trait-interp's term for judges that read probabilities."""
    return "logprob" if judge.get("kind") in ("openai", "local") else "classifier"


def reference_scores(run: Run, base: Run, judge: JudgeIdentity, direction: str) -> JsonObject:
    """A run's scores in a line of the file; scores of failed answers are left out, as in trait-interp."""
    scored = run.trait[~np.isnan(run.trait)]
    change = mean(run.trait - base.trait)
    result = {
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
