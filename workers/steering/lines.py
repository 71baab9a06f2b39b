"""Writes runs.jsonl and responses.jsonl of a steering: a line for each run, and a line for each answer (`terms.documents.runs`).

A rescore replaces the scores in the lines of an earlier runs.jsonl. Pure functions.
"""

from collections.abc import Iterator, Mapping, Sequence

from terms.documents.reading import read_runs
from terms.documents.runs import AnswerLine, RunLine, RunVector
from terms.documents.writing import json_lines
from workers.steering.effects import dose_of_run, scores_of
from workers.steering.runs import Run
from workers.steering.subjects import Subject


def run_lines(runs: Sequence[Run], roles: Mapping[str, Sequence[str]]) -> bytes:
    """The bytes of runs.jsonl: one line per run, with its roles (`roles.roles`)."""
    return json_lines(_run_line(run, roles.get(run.spec.id, ())) for run in runs)


def rescored_run_lines(old: bytes, runs: Mapping[str, Run]) -> bytes:
    """runs.jsonl with the new scores, without the lines of other runs than `runs`: of the off-target matrix and the reference's protocol."""
    return json_lines(_rescored_line(line, runs[line["run"]]) for line in read_runs(old) if line["run"] in runs)


def response_lines(runs: Sequence[Run]) -> bytes:
    """The bytes of responses.jsonl: every text with its scores, as they came."""
    return json_lines(line for run in runs for line in _answer_lines(run))


def _run_line(run: Run, roles: Sequence[str]) -> RunLine:
    return {
        **scores_of(run),
        "roles": list(roles),
        "set": run.spec.set,
        "label": run.spec.label,
        "vector": _vector(run.spec.subject),
        **dose_of_run(run),
        "effect": run.effect,
        "tokens": sum(len(answer.ids) for answer in run.answers),
    }


def _rescored_line(line: RunLine, run: Run) -> RunLine:
    return {**line, **scores_of(run)}


def _vector(subject: Subject | None) -> RunVector | None:
    if subject is None:
        return None
    return {
        "name": subject.name,
        "method": subject.method,
        "layer": subject.layers[0] if len(subject.layers) == 1 else None,
        "layers": list(subject.layers),
        "component": subject.component,
        "position": subject.position,
        "ids": list(subject.ids),
    }


def _answer_lines(run: Run) -> Iterator[AnswerLine]:
    for question, answer in zip(run.spec.questions, run.answers, strict=True):
        line: AnswerLine = {
            "run": run.spec.id,
            "set": run.spec.set,
            "question": question.question,
            "system_prompt": question.system_prompt,
            "cluster": question.cluster,
            "text": answer.text,
            "trait": answer.trait,
            "coherence": answer.coherence,
            "relevance": answer.relevance,
            "raw": answer.raw,
            "ended": answer.ended,
            "finite": answer.finite,
            "ids": list(answer.ids),
            "prompt_ids": list(question.prompt_ids),
        }
        if question.expected is not None:
            line["expected"] = question.expected
        yield line
