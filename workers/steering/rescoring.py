"""Computes a finished steering's summary again from new scores of its texts: same runs, choices and doses; new gains, intervals and verdicts.

Choices are kept: the doses come from the first judge's selection scores, because no other texts exist. The off-target matrix is left out,
because its texts belong to other traits' judges. Pure functions: `handlers.rescore` has the texts scored and stores the files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from terms.documents.judge import RawScore
from terms.documents.reading import read_answers, read_runs
from terms.documents.runs import AnswerLine
from terms.documents.steering import CurvePoint, Decomposition, Effect, ExtraEffect, Group, Refits, Summary
from workers.judges.base import Score
from workers.steering.effects import Scoring, effect_of, extra_effect, unsteered_of
from workers.steering.questions import Question
from workers.steering.runs import Run, RunSpec, judged
from workers.steering.summary import contrasts, curve_point, decomposition_facts, refit_facts

PUSHED = ("r", "r_sum", "c", "r_raw", "effect")
"""Facts of a run that do not depend on the judge."""
Measured = TypeVar("Measured", bound=Mapping[str, object])


@dataclass(frozen=True, eq=False)
class StoredSpec(RunSpec):
    """A stored run: known by its id, without its pushes."""

    stored_id: str = ""

    @property
    def id(self) -> str:
        """The id under which the run is stored."""
        return self.stored_id


@dataclass(frozen=True, eq=False)
class StoredGroup:
    """A group's stored runs, in the form that contrasts use. `matched`: the run by the way of matching it (dose, coherence, divergence)."""

    best: Run
    matched: Mapping[str, Run | str | None]
    refits: Mapping[int, Run]


def stored_answers(data: bytes) -> dict[str, list[AnswerLine]]:
    """The lines of responses.jsonl by run, in order."""
    by_run: dict[str, list[AnswerLine]] = {}
    for row in read_answers(data):
        by_run.setdefault(row["run"], []).append(row)
    return by_run


def scored_run(run_id: str, rows: Sequence[AnswerLine], scores: Sequence[Score]) -> Run:
    """A run of the texts with these scores; evidence read from a text itself before (its likelihood) is kept."""
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
    answers = tuple(
        judged(
            row["ids"],
            row["text"],
            ended=row["ended"],
            finite=row["finite"],
            score=score,
            raw={**_read_of(row["raw"]), **score.raw},
        )
        for row, score in zip(rows, scores, strict=True)
    )
    return Run(StoredSpec(questions, run_id, stored_id=run_id), answers)


def _read_of(raw: RawScore) -> RawScore:
    """The evidence read from the text itself, which does not depend on the judge."""
    evidence: RawScore = {}
    if "log_likelihood" in raw:
        evidence["log_likelihood"] = raw["log_likelihood"]
    if "repeated" in raw:
        evidence["repeated"] = raw["repeated"]
    if "read_after" in raw:
        evidence["read_after"] = raw["read_after"]
    return evidence


def steered_in(run_lines: bytes, runs: Mapping[str, Run], base: Run) -> list[Run]:
    """The steered runs on the questions of `base`, in the order of their lines in runs.jsonl (`run_lines`) and so in results.jsonl."""
    return [runs[line["run"]] for line in read_runs(run_lines) if line["vector"] is not None and line["set"] == base.spec.set]


def rescored(summary: Summary, runs: Mapping[str, Run], scoring: Scoring, *, judged: bool) -> Summary:
    """Returns summary.json with every number that depends on scores recomputed from `runs`, by run id.

    `judged`: whether the new judge can tell the classes apart; if not, every verdict is `not enough evidence`.
    """
    again = _Again(summary, runs, scoring, judged)
    stored = {old["group"]: again.compared(old) for old in summary["groups"]}
    return {
        **summary,
        "unsteered": {name: unsteered_of(run) for name, run in again.bases.items()},
        "prompt_only": None if summary["prompt_only"] is None else again.effect(summary["prompt_only"]),
        "reference_protocol": None,
        "groups": [again.group(old, stored[old["group"]].refits) for old in summary["groups"]],
        "off_target": [],
        "contrasts": contrasts(stored, summary["leader"], again.bases["test"], scoring, judged=judged),
        "subjects": [{**old, "curve": [again.point(point) for point in old["curve"]]} for old in summary["subjects"]],
    }


class _Again:
    """Recomputes the parts of summary.json about runs, from the same runs with new scores."""

    def __init__(self, summary: Summary, runs: Mapping[str, Run], scoring: Scoring, judged: bool) -> None:
        self._runs, self._scoring, self._judged = runs, scoring, judged
        self.bases = {name: runs[unsteered["run"]] for name, unsteered in summary["unsteered"].items()}

    def effect(self, old: Effect) -> Effect:
        """Recomputes an effect on test questions."""
        return _pushed_as(old, effect_of(self._runs[old["run"]], self.bases["test"], self._scoring))

    def extra(self, old: ExtraEffect, questions: str) -> ExtraEffect:
        """Recomputes an effect on an extra set."""
        return _pushed_as(old, extra_effect(self._runs[old["run"]], self.bases[questions], self._scoring))

    def point(self, old: CurvePoint) -> CurvePoint:
        """Recomputes one dose of a dose-response curve."""
        return _pushed_as(old, curve_point(self._runs[old["run"]], self.bases["selection"], self._scoring))

    def group(self, old: Group, refits: Mapping[int, Run]) -> Group:
        """Recomputes all of one method's effects. Effects on other traits are left out."""
        return {
            **old,
            "best": self.effect(old["best"]),
            "matched": {way: self.effect(effect) if effect else None for way, effect in old["matched"].items()},
            "controls": {kind: [self.effect(effect) for effect in effects] for kind, effects in old["controls"].items()},
            "decomposition": self._decomposition(old["decomposition"]),
            "extra": {
                name: {at: self.extra(effect, name) for at, effect in effects.items()} for name, effects in old["extra"].items()
            },
            "refits": refit_facts(refits, self.bases["test"], self._scoring),
            "off_target": {},
        }

    def compared(self, old: Group) -> StoredGroup:
        """The group's runs that contrasts use."""
        return StoredGroup(
            self._runs[old["best"]["run"]],
            {way: self._runs[effect["run"]] for way, effect in old["matched"].items() if effect},
            {} if old["refits"] is None else self._by_draw(old["refits"]),
        )

    def _by_draw(self, old: Refits) -> dict[int, Run]:
        draws = old.get("draws", range(1, old["n"] + 1))
        return {draw: self._runs[run] for draw, run in zip(draws, old["runs"], strict=True)}

    def _decomposition(self, old: Decomposition | None) -> Decomposition | None:
        if not old or not old["arms"]:
            return None
        arms = {name: self._runs[effect["run"]] for name, effect in old["arms"].items()}
        new = decomposition_facts(arms, old["per_dim"], self.bases["test"], self._scoring, judged=self._judged)
        return {**new, "arms": {name: self.effect(effect) for name, effect in old["arms"].items()}}


def _pushed_as(old: Mapping[str, object], new: Measured) -> Measured:
    """`new` with the parts that do not depend on the judge as they were stored."""
    return cast("Measured", {**new, **{name: value for name, value in old.items() if name in PUSHED}})
