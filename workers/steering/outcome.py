"""Builds the result and the files of a finished steering: puts summary.json together, and makes of it the short summary shown in lists."""

import json

import numpy as np
import torch

from binnacle.words.evidence import left_out
from binnacle.words.massive import listed, rule_of
from terms.documents.steering import Group, MethodRow, ShortSummary, SteeringProvenance, Summary
from workers.job import ArtifactBytes, Outcome
from workers.judges.base import Judge
from workers.lm.routing import routing_flips
from workers.steering.effects import effect_of, unsteered_of
from workers.steering.judge_usable import can_tell, facts_of
from workers.steering.lines import response_lines, run_lines
from workers.steering.results_file import results_lines
from workers.steering.roles import roles
from workers.steering.setup import Setup
from workers.steering.stages import Findings
from workers.steering.summary import SCHEMA_VERSION, contrasts, group_facts, subject_facts


def outcome_of(setup: Setup, findings: Findings, judge: Judge) -> Outcome:
    """Returns the job's result and files."""
    summary = _summary(setup, findings, judge)
    lines = results_lines(setup.spec, findings.runs, findings.bases["test"], judge.identity, summary["direction"])
    return Outcome(
        result={
            "steering": {
                "weight_hash": setup.lm.facts.weight_hash,
                **setup.lm.facts.reading,
                "judge": judge.identity["name"],
                "summary": short_summary(summary),
            }
        },
        artifacts=[
            ArtifactBytes("summary.json", summary_bytes(summary), "application/json"),
            ArtifactBytes("runs.jsonl", run_lines(findings.runs, roles(findings)), "application/jsonl"),
            ArtifactBytes("responses.jsonl", response_lines(findings.runs), "application/jsonl"),
            ArtifactBytes("results.jsonl", lines, "application/jsonl"),
        ],
        metrics={
            "answers": sum(len(run.answers) for run in findings.runs),
            "runs": len(findings.runs),
            "tokens_computed": setup.evaluator.tokens,
            **routing_flips(setup.lm, [question.prompt_ids for question in setup.sets["selection"]]),
        },
    )


def _summary(setup: Setup, findings: Findings, judge: Judge) -> Summary:
    bases, scoring = findings.bases, setup.scoring
    test = bases["test"]
    facts = facts_of(judge)
    judged = can_tell(facts)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": setup.spec["model"],
        "trait": setup.spec["trait"],
        "direction": setup.trait["steering"]["direction"],
        "operation": setup.how.operation,
        "plain": setup.how.plain,
        "scope": setup.how.scope,
        "judge": judge.identity,
        "judge_facts": facts,
        "coherence_threshold": scoring.threshold,
        "massive_dims": listed(setup.aggregate),
        "massive_rule": rule_of(setup.aggregate),
        "massive_by_layer": {str(layer): list(dims) for layer, dims in setup.massive.items()},
        "questions": {
            name: {"n": len(questions), "clusters": len({question.cluster for question in questions})}
            for name, questions in setup.sets.items()
        },
        "leader": findings.leader,
        "unsteered": {name: unsteered_of(run) for name, run in bases.items()},
        "prompt_only": None if findings.prompt_only is None else effect_of(findings.prompt_only, test, scoring),
        "divergence_nats": {name: round(nats, 4) for name, nats in findings.targets.items()},
        "reference_protocol": findings.reference,
        "groups": [
            {
                **group_facts(group, reported, test, bases, scoring, judged=judged),
                "off_target": {other.trait: other.effect(group, scoring) for other in findings.off_target},
            }
            for group, reported in findings.reported.items()
        ],
        "off_target": [other.facts() for other in findings.off_target],
        "contrasts": contrasts(findings.reported, findings.leader, test, scoring, judged=judged),
        "subjects": [subject_facts(candidate, bases["selection"], scoring) for candidate in findings.searched],
        "provenance": _provenance(setup),
    }


def _provenance(setup: Setup) -> SteeringProvenance:
    lm = setup.lm
    return {
        "weight_hash": lm.facts.weight_hash,
        "tokenizer_hash": lm.facts.tokenizer_hash,
        **lm.facts.reading,
        "max_new_tokens": setup.spec["max_new_tokens"],
        "special_tokens": lm.special_tokens,
        "sampling": setup.spec["sampling"],
        "seed": setup.spec["seed"],
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": lm.device.type,
        "batch_plan": {"rows": setup.rows, "prefix": "not shared" if lm.layout.grouped else "shared"},
        "threads": torch.get_num_threads(),
    }


def short_summary(summary: Summary) -> ShortSummary:
    """The summary shown on the job's page and in lists, with one row per method."""
    facts = summary["judge_facts"]
    return {
        "leader": summary["leader"],
        "judge": {
            "held_out_accuracy": facts.get("held_out_accuracy"),
            "held_out": facts.get("held_out"),
            "tells_apart": facts.get("tells_apart"),
        },
        "unsteered": summary["unsteered"],
        "questions": summary["questions"],
        "methods": [_row(group) for group in summary["groups"]],
        "left_out": left_out(summary),
    }


def _row(group: Group) -> MethodRow:
    best = group["best"]
    row: MethodRow = {
        "group": group["group"],
        "layers": group["layers"],
        "same_as": group["same_as"],
        "r": best["r"],
        "c": best["c"],
        "coherence": best["coherence"],
        "delta": best["delta"],
        "delta_low": best["delta_low"],
        "delta_high": best["delta_high"],
        "delta_joint": best["delta_joint"],
    }
    if "scored" in best:
        row["scored"] = best["scored"]
    return row


def summary_bytes(summary: Summary) -> bytes:
    """summary.json as bytes. NaN and infinities, which JSON lacks, become null."""
    finite = json.loads(json.dumps(summary, default=np.floating.item), parse_constant=lambda _constant: None)
    return (json.dumps(finite, indent=1, allow_nan=False) + "\n").encode()
