"""`rescore`: scores the texts of a finished steering with another judge. Generates no steered text.

The scores of a run are stored as a cell, so that a resumed or retried job asks the judge only about the remaining runs.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing

from terms.documents.judge import JudgedQuestion
from terms.documents.reading import read_summary, read_trait
from terms.documents.runs import AnswerLine
from terms.documents.steering import Summary
from terms.judging import FITTED
from terms.specs import RescoringSpec
from workers.handlers.calibration import model_of
from workers.job import ArtifactBytes, JobContext, JobFault, Outcome
from workers.judges.base import Judge, JudgeItem, Score
from workers.judges.material import Material
from workers.judges.opening import open_judge
from workers.judges.waiting import Judging
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.steering.effects import Scoring
from workers.steering.judge_usable import can_tell, check_failures, facts_of
from workers.steering.lines import rescored_run_lines, response_lines
from workers.steering.offtarget import responses_of
from workers.steering.outcome import short_summary, summary_bytes
from workers.steering.rescoring import rescored, scored_run, steered_in, stored_answers
from workers.steering.results_file import rescored_results_lines
from workers.steering.runs import Run


def run(spec: RescoringSpec, context: JobContext) -> Outcome:
    """Spec: RescoringSpec.

    Raises JobFault missing_input, judge_unusable, weights_changed, reading_changed; TransientFault when the judge cannot be reached.
    """
    summary = read_summary(context.artifact(spec["job"], "summary.json"))
    answers = stored_answers(context.artifact(spec["job"], "responses.jsonl"))
    # the off-target matrix and the reference's protocol are not scored again; the result leaves them out
    kept = {name: rows for name, rows in answers.items() if not rows[0]["set"].startswith(("off_target:", "reference"))}
    summary["unsteered"] = {name: unsteered for name, unsteered in summary["unsteered"].items() if unsteered["run"] in kept}
    context.phase("preparing the judge", 1, "judges", share=0.01)
    try:
        judge = _judge(spec, kept, context)
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault
    context.phase("scoring", sum(map(len, kept.values())), "answers")
    runs: dict[str, Run] = {}
    done = 0
    with closing(judge), Judging(judge, context) as judging:
        for name, rows in kept.items():
            runs[name] = scored_run(name, rows, _scores(judging, name, rows, context, done))
            done += len(rows)
            context.progress(done)
            if len(runs) < len(kept):
                context.may_yield()
    check_failures(list(runs.values()))
    scoring = Scoring(spec["coherence_threshold"], -1 if summary["direction"] == "negative" else 1, spec["seed"])
    facts = facts_of(judge)
    new_summary: Summary = {
        **rescored(summary, runs, scoring, judged=can_tell(facts)),
        "judge": judge.identity,
        "judge_facts": facts,
        "coherence_threshold": scoring.threshold,
        "rescored_from": {"job": spec["job"], "judge": summary["judge"]},
    }
    old_runs, base = context.artifact(spec["job"], "runs.jsonl"), runs[summary["unsteered"]["test"]["run"]]
    old_results, steered = context.artifact(spec["job"], "results.jsonl"), steered_in(old_runs, runs, base)
    hashes = {name: spec.get(name) for name in ("weight_hash", "reading_hash")}  # of the texts, which do not change
    result = {**hashes, "judge": judge.identity["name"], "summary": short_summary(new_summary)}
    return Outcome(
        result={"steering": result},
        artifacts=[
            ArtifactBytes("summary.json", summary_bytes(new_summary), "application/json"),
            ArtifactBytes("runs.jsonl", rescored_run_lines(old_runs, runs), "application/jsonl"),
            ArtifactBytes("responses.jsonl", response_lines(list(runs.values())), "application/jsonl"),
            ArtifactBytes(
                "results.jsonl", rescored_results_lines(old_results, steered, base, judge.identity), "application/jsonl"
            ),
        ],
        metrics={"answers": sum(len(scored.answers) for scored in runs.values()), "runs": len(runs)},
    )


def _judge(spec: RescoringSpec, answers: Mapping[str, Sequence[AnswerLine]], context: JobContext) -> Judge:
    trait = read_trait(context.blob(spec["trait"]["version"]))
    lm, responses, longest = None, None, 1
    questions: list[JudgedQuestion] | None = None
    if spec["judge"]["kind"] in FITTED:
        lm = _model(spec, context)
        responses = responses_of(spec["extraction"], context)
        questions = _questions(answers)
        longest = max(len(row["ids"]) for rows in answers.values() for row in rows)
    material = Material(trait, responses, longest, given=spec["responses_given"], questions=questions)
    return open_judge(spec["judge"], lm, material, context, share=0.3)


def _model(spec: RescoringSpec, context: JobContext) -> LanguageModel:
    """The model that wrote the texts: with other weights or another reading the judge would learn from another model."""
    try:
        return model_of(spec, context)
    except JobFault as fault:
        if fault.code not in ("weights_changed", "reading_changed"):
            raise
        sentence = (
            f"The texts were made with {spec['model']} as it was then; its weights, or how its texts are read, have changed. A judge that is "
            "fitted on the model cannot score them. Steer again, or rescore with a judge of another kind (openai, local)."
        )
        raise JobFault(fault.code, sentence) from fault


def _questions(answers: Mapping[str, Sequence[AnswerLine]]) -> list[JudgedQuestion]:
    """The questions of all answers, each once for each of its sets and system prompts; of duplicates, the last."""
    questions: dict[tuple[str, str, str | None], JudgedQuestion] = {}
    for row in (row for rows in answers.values() for row in rows):
        key = (row["set"], row["question"], row["system_prompt"])
        questions[key] = {
            "question": row["question"], "system_prompt": row["system_prompt"], "cluster": row["cluster"], "set": row["set"],
        }  # fmt: skip
    return list(questions.values())


def _scores(judging: Judging, name: str, rows: Sequence[AnswerLine], context: JobContext, done: int) -> list[Score]:
    stored = context.cell(f"scores/{name}")
    if stored is not None:
        return [Score(**line) for line in json.loads(stored)]
    items = [JudgeItem(row["question"], row["system_prompt"], row["text"], row["ids"], row["prompt_ids"]) for row in rows]
    scores = judging.score(items, done)
    lines = [
        {"trait": score.trait, "coherence": score.coherence, "relevance": score.relevance, "raw": score.raw} for score in scores
    ]
    context.commit_cell(f"scores/{name}", json.dumps(lines, separators=(",", ":"), ensure_ascii=False).encode())
    return scores
