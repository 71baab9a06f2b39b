"""A finished steering with its texts scored by another judge: the same runs, choices and doses, new scores, gains, intervals and verdicts.

What was chosen stays chosen: the doses are those of the first judge's selection scores, because no other texts exist. The off-target matrix
is left out; its texts belong to other traits' judges.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.judges.base import Score
from workers.steering.effects import Scale, effect_of, extra_effect, scores_of, unsteered_of
from workers.steering.questions import Question
from workers.steering.results_file import judge_method, reference_scores
from workers.steering.runs import Run, RunSpec, judged
from workers.steering.summary import contrasts, curve_point, decomposition_facts, refit_facts

DOSE = ("r", "r_sum", "c", "r_raw")
"""Facts of a run that no judge changes, besides the effect of its push."""


@dataclass(frozen=True, eq=False)
class StoredSpec(RunSpec):
    """A run as it was stored: known by its id, its pushes forgotten."""

    stored_id: str = ""

    @property
    def id(self) -> str:
        return self.stored_id


@dataclass(frozen=True, eq=False)
class StoredGroup:
    """A group's runs as contrasts read them."""

    best: Run
    matched: Mapping[str, Run | str | None]
    refits: Sequence[Run]


def stored_answers(data: bytes) -> dict[str, list[dict[str, Any]]]:
    """The lines of responses.jsonl by run, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in data.splitlines():
        row = json.loads(line)
        found.setdefault(row["run"], []).append(row)
    return found


def scored_run(run_id: str, rows: Sequence[Mapping[str, Any]], scores: Sequence[Score]) -> Run:
    """The run's texts with these scores; what was read of a text before (its likelihood) stays with it."""
    questions = [
        Question(
            place,
            row["set"],
            row["question"],
            row["system_prompt"],
            row["cluster"],
            tuple(row["prompt_ids"]),
            row.get("expected"),
        )
        for place, row in enumerate(rows)
    ]
    kept = ("log_likelihood", "repeated", "read_after")
    answers = tuple(
        judged(
            row["ids"],
            row["text"],
            ended=row["ended"],
            finite=row["finite"],
            score=score,
            raw={name: row["raw"][name] for name in kept if name in row["raw"]} | score.raw,
        )
        for row, score in zip(rows, scores, strict=True)
    )
    return Run(StoredSpec(questions, run_id, stored_id=run_id), answers)


def rescored(summary: Mapping[str, Any], runs: Mapping[str, Run], scale: Scale, *, judged: bool) -> dict[str, Any]:
    """summary.json with every score-made number made again from `runs`, by run id. `judged` as in `contrasts`."""
    bases = {name: runs[one["run"]] for name, one in summary["unsteered"].items()}
    test, selection = bases["test"], bases["selection"]

    def effect(
        old: Mapping[str, Any] | None, base: Run = test, of: Callable[[Run, Run, Scale], dict[str, Any]] = effect_of
    ) -> dict[str, Any] | None:
        if not old:
            return None
        new = of(runs[old["run"]], base, scale)
        return {**new, **{name: old[name] for name in (*DOSE, "effect") if name in old}}

    groups = []
    stored: dict[str, StoredGroup] = {}
    for old in summary["groups"]:
        refits = [runs[run] for run in (old["refits"] or {}).get("runs", ())]
        arms = {name: runs[one["run"]] for name, one in (old["decomposition"] or {}).get("arms", {}).items()}
        stored[old["group"]] = StoredGroup(
            runs[old["best"]["run"]], {name: runs[one["run"]] for name, one in old["matched"].items() if one}, refits
        )
        taken_apart = None
        if arms:
            taken_apart = decomposition_facts(arms, old["decomposition"]["per_dim"], test, scale, judged=judged)
            taken_apart["arms"] = {name: effect(one) for name, one in old["decomposition"]["arms"].items()}
        groups.append(
            {
                **old,
                "best": effect(old["best"]),
                "matched": {name: effect(one) for name, one in old["matched"].items()},
                "controls": {kind: [effect(one) for one in ones] for kind, ones in old["controls"].items()},
                "decomposition": taken_apart,
                "extra": {
                    name: {at: effect(one, bases[name], extra_effect) for at, one in ones.items()}
                    for name, ones in old["extra"].items()
                },
                "refits": refit_facts(refits, test, scale),
                "off_target": {},
            }
        )
    subjects = [
        {**old, "curve": [_point(point, runs, selection, scale) for point in old["curve"]]} for old in summary["subjects"]
    ]
    return {
        **summary,
        "unsteered": {name: unsteered_of(run) for name, run in bases.items()},
        "prompt_only": effect(summary["prompt_only"]),
        "reference_protocol": None,
        "groups": groups,
        "off_target": [],
        "contrasts": contrasts(stored, summary["leader"], test, scale, scale.seed, judged=judged),
        "subjects": subjects,
    }


def _point(old: Mapping[str, Any], runs: Mapping[str, Run], base: Run, scale: Scale) -> dict[str, Any]:
    return curve_point(runs[old["run"]], base, scale) | {name: old[name] for name in DOSE if name in old}


def rescored_reference_lines(old: bytes, run_lines: bytes, runs: Mapping[str, Run], base: Run, judge: Mapping[str, Any]) -> bytes:
    """results.jsonl with the new scores. `run_lines` are those of the same steering, which has a line there for each of its runs."""
    header, baseline, *rest = [json.loads(line) for line in old.splitlines()]
    described = [json.loads(line) for line in run_lines.splitlines()]
    steered = [one["run"] for one in described if one["vector"] is not None and one["set"] == base.spec.set]
    new = [
        {**header, "eval": {"model": judge["name"], "method": judge_method(judge), "trait_judge": judge.get("prompt_hash")}},
        {**baseline, **reference_scores(base, base, judge)},
        *({**line, **reference_scores(runs[run], base, judge)} for line, run in zip(rest, steered, strict=True)),
    ]
    return b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in new)


def rescored_lines(old: bytes, runs: Mapping[str, Run]) -> bytes:
    """runs.jsonl with the new scores."""
    lines = [json.loads(line) for line in old.splitlines()]
    return b"".join(
        json.dumps({**one, **scores_of(runs[one["run"]])}, ensure_ascii=False).encode() + b"\n"
        for one in lines
        if one["run"] in runs
    )
