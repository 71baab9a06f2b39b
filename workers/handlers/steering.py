"""`steer`: search each vector's dose on selection questions, report its gain on test questions beside controls, with intervals.

Every finished run is a cell and is never generated or judged again. Which dose comes next depends on recorded results alone, so a job that
was killed goes on as it would have.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch

from binnacle.words.massive import listed, rule_of
from terms.methods import parse_method
from terms.specs import SteeringSpec
from workers.handlers.calibration import model_of
from workers.job import ArtifactBytes, JobContext, JobFault, Outcome
from workers.judges.base import Judge
from workers.judges.opening import open_judge
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.memory import batch_rows_for
from workers.lm.model import LanguageModel
from workers.lm.routing import routing_flips
from workers.science.scores import mean
from workers.steering import offtarget, protocol, stages
from workers.steering.effects import Scale, effect_of, unsteered_of
from workers.steering.evaluator import Evaluator
from workers.steering.offtarget import OffTarget
from workers.steering.protocol import RawCoefficient, raw_coefficient
from workers.steering.questions import Question, asking_for_the_trait, question_sets
from workers.steering.results_file import reference_lines
from workers.steering.roles import roles
from workers.steering.runs import Run, RunSpec
from workers.steering.sets import Intervention, Reported, Searched, unsteered
from workers.steering.stages import Divergences
from workers.steering.subjects import Subject, name_twins
from workers.steering.summary import (
    SCHEMA_VERSION,
    contrasts,
    group_facts,
    response_lines,
    run_lines,
    subject_facts,
)  # fmt: skip
from workers.steering.units import units_for
from workers.steering.vectors import Loaded, load_named, load_subjects, make_subject, massive_dims_at

MOST_ROWS = 64
MOST_FAILED = 0.2
"""Share of answers that the judge may fail on; above it nothing is concluded."""


def run(spec: SteeringSpec, context: JobContext) -> Outcome:
    """Spec: what a steering request says of the result, with vectors, judge and calibration resolved.

    Raises JobFault: weights_changed, reading_changed, missing_input, no_vectors, wrong_width, layer_not_calibrated, no_questions,
    prompt_too_long, no_effect, no_clean_dose, judge_unusable. OutOfMemory passes when one row alone does not fit.
    """
    try:
        return _run(spec, context)
    except OutOfMemory:
        raise
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault


def _run(spec: SteeringSpec, context: JobContext) -> Outcome:
    trait = json.loads(context.blob(spec["trait"]["version"]))
    calibration = json.loads(context.artifact(spec["calibration"]["job"], "calibration.json"))
    named = load_named(context, spec)
    lm = model_of(spec, context)
    sets = question_sets(lm, spec, trait)
    selection = [one.prompt_ids for one in sets["selection"]]
    units = units_for(named, lm, calibration, selection, context)
    massive = massive_dims_at(calibration, named)
    asked = {key for source in spec.get("from") or () for key in source["methods"] or ()} or None
    loaded = load_subjects(lm, named, units=units, massive=massive, combine=spec["combine"], asked=asked)
    longest = max(len(one.prompt_ids) for questions in sets.values() for one in questions)
    rows = min(MOST_ROWS, batch_rows_for(lm, longest, spec["max_new_tokens"], context.batch_budget_bytes))
    with closing(_judge(spec, lm, trait, sets, _answers(spec, sets, loaded), context)) as judge:
        evaluator = Evaluator(
            lm, context, judge, max_new_tokens=spec["max_new_tokens"], batch_rows=rows, sampling=spec["sampling"]
        )
        return _Steering(spec, lm, trait, sets, loaded, judge, evaluator, rows, massive, calibration, context).outcome()


def _judge(
    spec: SteeringSpec,
    lm: LanguageModel,
    trait: Mapping[str, Any],
    sets: Mapping[str, Sequence[Question]],
    answers: int,
    context: JobContext,
) -> Judge:
    context.phase("preparing the judge", 1, "judges", share=0.01)
    responses = None
    if spec["extraction"] is not None:
        responses = [json.loads(line) for line in context.artifact(spec["extraction"], "responses.jsonl").splitlines()]
    questions = [
        {"question": one.question, "system_prompt": one.system_prompt, "cluster": one.cluster, "set": name}
        for name, ones in sets.items()
        for one in ones
    ]
    judge = open_judge(
        spec["judge"], lm, trait, responses, max_new_tokens=spec["max_new_tokens"], given=spec.get("responses_given", False),
        questions=questions, context=context, share=len(questions) / (len(questions) + answers),
    )  # fmt: skip
    context.check()
    return judge


def _answers(spec: SteeringSpec, sets: Mapping[str, Sequence[Question]], loaded: Loaded) -> int:
    """The steered answers, about: for the estimated end alone."""
    subjects = [one for one in loaded.subjects if one.same_as is None]
    doses = 1 if spec["operation"] == "ablate" else len(spec["doses"] or spec["coefficients"] or ()) or spec["budget"]
    controls = spec["controls"]
    runs = 1 + len(spec["matched"]) + controls["random"] + controls["shuffled"]
    groups = len({one.group for one in subjects})
    return int(len(subjects) * doses * len(sets["selection"]) + groups * runs * len(sets["test"]))


class _Steering:
    """One job's work, stage by stage."""

    def __init__(
        self,
        spec: SteeringSpec,
        lm: LanguageModel,
        trait: Mapping[str, Any],
        sets: Mapping[str, Sequence[Question]],
        loaded: Loaded,
        judge: Judge,
        evaluator: Evaluator,
        rows: int,
        massive: Mapping[int, Sequence[int]],
        calibration: Mapping[str, Any],
        context: JobContext,
    ) -> None:
        self.spec, self.lm, self.trait, self.sets, self.context = spec, lm, trait, sets, context
        self.judge, self.evaluator, self.rows = judge, evaluator, rows
        self.massive, self.calibration = massive, calibration["aggregate"]
        self.direction = trait["steering"]["direction"]
        sign = -1 if self.direction == "negative" else 1
        self.scale = Scale(spec["coherence_threshold"], sign, spec["seed"])
        self.how = Intervention(spec["operation"], spec["scope"], sign, spec["ablate_plain"])
        self.subjects = [one for one in loaded.subjects if not _refit_of(one)]
        self.refits: dict[str, list[Subject]] = {}
        for one in loaded.subjects:
            if _refit_of(one):
                self.refits.setdefault(_refit_of(one), []).append(one)
        self.shuffled = self._shuffled(loaded)

    def _shuffled(self, loaded: Loaded) -> dict[str, list[Subject]]:
        """The shuffled-label controls of each group, those that are the same vector known as such."""
        made = [
            (group, make_subject(f"{group}, labels shuffled {seed}", [one], {(one.component, one.layer): self._unit(one)}, self.massive))
            for group, by_seed in loaded.shuffled.items()
            for seed, vectors in enumerate(by_seed)
            for one in vectors.values()
        ]  # fmt: skip
        found: dict[str, list[Subject]] = {}
        for (group, _), subject in zip(made, name_twins([subject for _, subject in made]), strict=True):
            found.setdefault(group, []).append(subject)
        return found

    def _unit(self, vector: Any) -> float:
        for subject in self.subjects:
            for part in subject.parts:
                if (part.component, part.layer) == (vector.component, vector.layer):
                    return part.unit_norm
        return 1.0  # a control of a layer that nothing is steered at; it is never run

    def outcome(self) -> Outcome:
        bases = unsteered(self.evaluator, self.sets)
        searched = stages.search(
            self.evaluator, self.subjects, self.sets["selection"], bases["selection"], self.how, self.scale, self.spec
        )
        chosen = stages.choose(searched, bases["selection"], self.scale)
        leader = stages.leader_of(chosen, bases["selection"], self.scale)
        if leader is None:
            raise JobFault(
                "no_clean_dose",
                "None of the vectors has a clean dose: over 99 % of each lies in massive dims. Clean them, or give raw coefficients "
                "(/coefficients).",
            )
        raw = None if self.how.operation != "add" else raw_coefficient(searched, chosen, leader)
        reported, divergent = self._report(chosen, leader, bases, raw)
        reference = self._reference_protocol(raw, bases)
        off_target = [
            offtarget.measure(self.lm, asked, self.spec, reported, self.how, self.rows, self.context)
            for asked in self.spec.get("off_target", ())
        ]
        prompt_only = self._prompt_only(bases["test"])
        runs = [*self.evaluator.runs, *(run for one in off_target for run in one.runs)]
        check_failures(runs)
        return self._outcome(runs, bases, searched, reported, leader, prompt_only, divergent, reference, off_target)

    def _reference_protocol(self, raw: RawCoefficient | None, bases: Mapping[str, Run]) -> dict[str, Any] | None:
        if raw is None or not self.spec.get("reference_protocol"):
            return None
        runs = stages.reference_protocol(self.evaluator, raw, self.sets["reference"], self.how)
        return protocol.facts(raw, runs, bases["reference"], self.scale)

    def _report(
        self, chosen: Mapping[str, Searched], leader: str, bases: Mapping[str, Run], raw: RawCoefficient | None
    ) -> tuple[dict[str, Reported], Divergences | None]:
        coherent: Mapping[str, float | str | None] = {}
        divergent: Divergences | None = None
        if self.how.operation != "ablate":
            best = chosen[leader].best
            assert best is not None
            if "coherence" in self.spec["matched"]:
                target = mean(best.coherence) or 0.0
                coherent = stages.match_coherence(self.evaluator, chosen, self.sets["selection"], target, self.how)
            if "divergence" in self.spec["matched"] and not self.spec["sampling"]:
                divergent = stages.match_divergence(
                    self.lm, chosen, bases["selection"], leader, self.how, self.rows, self.evaluator
                )
        reported = stages.report(
            self.evaluator,
            chosen,
            leader,
            self.sets,
            self.how,
            self.spec,
            coherent,
            divergent,
            self.shuffled,
            self._refits_of(chosen),
            raw,
        )
        return reported, divergent

    def _refits_of(self, chosen: Mapping[str, Searched]) -> dict[str, list[Subject]]:
        return {
            group: [one for one in self.refits.get(group, []) if one.layers == searched.subject.layers]
            for group, searched in chosen.items()
        }

    def _prompt_only(self, base: Run) -> Run | None:
        if not self.spec["controls"]["prompt_only"]:
            return None
        questions = asking_for_the_trait(self.lm, self.sets["test"], self.trait, self.spec["max_new_tokens"])
        self.evaluator.begin("asking in the prompt", len(questions))
        return self.evaluator.evaluate([RunSpec(questions, "prompt only")])[0]

    def _outcome(
        self, runs: Sequence[Run], bases: Mapping[str, Run], searched: Sequence[Searched], reported: Mapping[str, Reported], leader: str,
        prompt_only: Run | None, divergent: Divergences | None, reference: dict[str, Any] | None, off_target: Sequence[OffTarget],
    ) -> Outcome:  # fmt: skip
        identity, facts = dict(self.judge.identity), dict(getattr(self.judge, "facts", {}))
        summary = {
            "schema_version": SCHEMA_VERSION,
            "model": self.spec["model"],
            "trait": self.spec["trait"],
            "direction": self.direction,
            "operation": self.how.operation,
            "plain": self.how.plain,
            "scope": self.how.scope,
            "judge": identity,
            "judge_facts": facts,
            "coherence_threshold": self.scale.threshold,
            "massive_dims": listed(self.calibration),
            "massive_rule": rule_of(self.calibration),
            "massive_by_layer": {str(layer): list(dims) for layer, dims in self.massive.items()},
            "questions": {
                name: {"n": len(ones), "clusters": len({one.cluster for one in ones})} for name, ones in self.sets.items()
            },
            "leader": leader,
            "unsteered": {name: unsteered_of(run) for name, run in bases.items()},
            "prompt_only": None if prompt_only is None else effect_of(prompt_only, bases["test"], self.scale),
            "divergence_nats": {name: round(nats, 4) for name, nats in divergent.targets.items()} if divergent else {},
            "reference_protocol": reference,
            "groups": [
                group_facts(group, one, bases["test"], bases, self.scale, judged=can_tell(facts))
                | {"off_target": {other.trait: other.effect(group, self.scale) for other in off_target}}
                for group, one in reported.items()
            ],
            "off_target": [one.facts() for one in off_target],
            "contrasts": contrasts(reported, leader, bases["test"], self.scale, self.spec["seed"], judged=can_tell(facts)),
            "subjects": [subject_facts(one, bases["selection"], self.scale) for one in searched],
            "provenance": self._provenance(),
        }
        content = (json.dumps(plain_numbers(summary), indent=1, allow_nan=False) + "\n").encode()
        return Outcome(
            result={
                "steering": {
                    "weight_hash": self.lm.facts.weight_hash,
                    **self.lm.facts.reading,
                    "judge": identity["name"],
                    "summary": short_summary(summary),
                }
            },
            artifacts=[
                ArtifactBytes("summary.json", content, "application/json"),
                ArtifactBytes(
                    "runs.jsonl",
                    run_lines(runs, roles(bases, searched, reported, off_target, prompt_only)),
                    "application/jsonl",
                ),
                ArtifactBytes("responses.jsonl", response_lines(runs), "application/jsonl"),
                ArtifactBytes(
                    "results.jsonl",
                    reference_lines(self.spec, runs, bases["test"], identity, self.direction),
                    "application/jsonl",
                ),
            ],
            metrics={
                "answers": sum(len(run.answers) for run in runs),
                "runs": len(runs),
                "tokens_computed": self.evaluator.tokens,
                **routing_flips(self.lm, [one.prompt_ids for one in self.sets["selection"]]),
            },
        )

    def _provenance(self) -> dict[str, Any]:
        return {
            "weight_hash": self.lm.facts.weight_hash,
            "tokenizer_hash": self.lm.facts.tokenizer_hash,
            **self.lm.facts.reading,
            "max_new_tokens": self.spec["max_new_tokens"],
            "special_tokens": self.lm.special_tokens,
            "sampling": self.spec["sampling"],
            "seed": self.spec["seed"],
            "dtype": str(self.lm.dtype).removeprefix("torch."),
            "device": self.lm.device.type,
            "batch_plan": {"rows": self.rows},
            "threads": torch.get_num_threads(),
        }


def can_tell(facts: Mapping[str, Any]) -> bool:
    """Whether verdicts may rest on a judge of these facts: unless it was measured that it cannot tell the classes apart."""
    return facts.get("tells_apart") is not False


def check_failures(runs: Sequence[Run]) -> None:
    """Raises JobFault judge_unusable where the judge failed on more answers than a conclusion can bear."""
    scores = np.concatenate([run.trait for run in runs])
    failed = float(np.isnan(scores).mean())
    if failed > MOST_FAILED:
        raise JobFault(
            "judge_unusable",
            f"The judge gave no score for {failed:.0%} of {len(scores):,} answers (at most {MOST_FAILED:.0%} may fail). The texts are kept: "
            "score them again with another judge.",
        )


def _refit_of(subject: Subject) -> str:
    """The group of which this is a refit; empty for any other subject."""
    try:
        parsed = parse_method(subject.method)
    except ValueError:
        return ""
    refit = int(parsed.parameters.get("refit", 0))
    return subject.group.removesuffix(f"__refit{refit}") if refit else ""


def short_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the job and lists show: one row a method."""
    return {
        "leader": summary["leader"],
        "judge": {name: summary["judge_facts"].get(name) for name in ("held_out_accuracy", "held_out", "tells_apart")},
        "unsteered": summary["unsteered"],
        "questions": summary["questions"],
        "methods": [
            {"group": one["group"], "layers": one["layers"], "same_as": one["same_as"]}
            | {key: one["best"][key] for key in ("r", "c", "coherence", "delta", "delta_low", "delta_high", "delta_joint")}
            for one in summary["groups"]
        ],
    }


def plain_numbers(value: Any) -> Any:
    """Without NaN and infinities, which JSON has not: they become null."""
    if isinstance(value, Mapping):
        return {key: plain_numbers(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
