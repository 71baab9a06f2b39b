"""`calibrate`: generates answers to neutral prompts, measures the residual stream over them, writes calibration.json.

Generation is batched and its finished chunks are stored as cells. Each prompt is measured alone, in order, so the file does not depend on the
batches, on interruptions or on running out of memory. A job that yields while it measures stores its state; after a lost lease the measurement
starts over.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from binnacle.words.massive import DEFAULT_RULE, SCHEMA_VERSION, stored_rule
from shipped import PROMPTS
from terms.documents.calibration import CalibrationResult
from terms.specs import SPECIAL_TOKENS, CalibrationSpec, OnAModel, Prompt
from workers.job import ArtifactBytes, JobContext, JobFault, JobYielded, Outcome
from workers.lm.answering import answer_all
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.science.aggregate import aggregate
from workers.science.document import document, provenance, to_bytes
from workers.science.errors import DegenerateActivations, NonFiniteActivations
from workers.science.measuring import Listener, Row, measure
from workers.science.statistics import Statistics
from workers.science.tokenvalues import TokenValues
from workers.science.watching import FIRST_PROMPTS

AskedPrompt = str | Prompt
MEASURED = "measured/1"  # increase the number when the content changes
"""The cell in which a job that yields stores its measurement."""
WORTH_TIMING = 20
"""The smallest number of prompts for which measuring is timed first, for the estimated end."""
GENERATING_SHARE = 0.8  # of the job's time, for its estimated end: 0.6 to 0.95 were seen (tests/benchmarks/bench_calibration.py)


def run(spec: CalibrationSpec, context: JobContext) -> Outcome:
    """Spec: the fields of a calibration request that affect the result, and `weight_hash`. Result: `{"calibration": CalibrationResult}` and
    the artifact calibration.json.

    Raises JobFault: weights_changed, reading_changed, layer_out_of_range, empty_prompt, prompt_too_long, chat_template_failed,
    no_response_tokens, activations_not_finite, degenerate_activations. OutOfMemory passes when one row alone does not fit.
    """
    try:
        return _run(spec, context)
    except OutOfMemory:
        raise
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault
    except NonFiniteActivations as error:
        raise JobFault("activations_not_finite", str(error), layer=error.layer, prompt=error.prompt) from error
    except DegenerateActivations as error:
        raise JobFault("degenerate_activations", str(error), layer=error.layer) from error


def _run(spec: CalibrationSpec, context: JobContext) -> Outcome:
    lm = model_of(spec, context)
    layers = _layers(lm, spec.get("layers"))
    asked: Sequence[AskedPrompt] = spec.get("prompts") or shipped_prompts()
    rule = stored_rule(spec["rule"])  # for jobs that were queued when the rules had other names
    new_tokens: int = spec["max_new_tokens"]
    prompts = _encode(lm, asked, new_tokens)
    answers, metrics = _generate(lm, prompts, new_tokens, context, layers)
    rows = [Row(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    with closing(TokenValues(len(layers))) as tokens:
        stats = _measure(lm, rows, tokens, layers, rule, context)
        aggregated = aggregate(stats, tokens, rule)
    revision = context.model_facts(spec["model"]).get("revision")
    content = document(
        experiment=spec["experiment"],
        model=spec["model"],
        variant=spec.get("model_variant"),
        lm=lm,
        provenance=provenance(lm, revision=revision, prompts=asked, max_new_tokens=new_tokens, stats=stats),
        aggregate=aggregated,
    )
    summary: CalibrationResult = {
        "schema_version": SCHEMA_VERSION,
        "severity": aggregated["severity"],
        "massive_dims": aggregated["massive_dims"],
        "weight_hash": lm.facts.weight_hash,
        **lm.facts.reading,
        "n_prompts": stats.prompts,
        "layers": len(stats.layers),
        "model_variant": content["model_variant"],
    }
    return Outcome(
        result={"calibration": summary},
        artifacts=[ArtifactBytes("calibration.json", to_bytes(content), "application/json")],
        metrics=metrics,
    )


def shipped_prompts() -> list[str]:
    """The texts of the 50 neutral prompts that come with the project."""
    stored = json.loads((PROMPTS / "calibration_50.json").read_text(encoding="utf-8"))
    return [prompt["text"] for prompt in stored["prompts"]]


def model_of(spec: OnAModel, context: JobContext) -> LanguageModel:
    """The spec's model, set to read special tokens in texts as the spec requires.

    Raises JobFault weights_changed, reading_changed, and what loading raises.
    """
    lm = context.model(spec["model"])
    check_model(lm, spec)
    return replace(lm, special_tokens=spec.get("special_tokens", SPECIAL_TOKENS))


def check_model(lm: LanguageModel, spec: OnAModel) -> None:
    """Raises JobFault weights_changed or reading_changed when the loaded model, or how it reads texts, differs from that at submission."""
    asked = spec.get("weight_hash")
    if asked is not None and asked != lm.facts.weight_hash:
        raise JobFault(
            "weights_changed",
            f"The weights of {spec['model']} are not those that the job was submitted for (sha256 {asked[:12]} then, "
            f"{lm.facts.weight_hash[:12]} now): the model was inspected again. Submit the request again; a retry would ask for the old weights.",
        )
    reading, now = spec.get("reading_hash"), lm.facts.reading_hash
    if None not in (reading, now) and reading != now:
        raise JobFault(
            "reading_changed",
            f"{spec['model']} has been read differently since this job was submitted (reading {str(reading)[:12]} "
            f"then, {str(now)[:12]} now): its tokenizer, prompts, ends of answers or masks changed. Submit the request again.",
        )


def _layers(lm: LanguageModel, asked: Sequence[int] | None) -> list[int]:
    layers = sorted(set(asked)) if asked else list(range(lm.layout.n_layers))
    for layer in layers:
        lm.layout.site(layer, "residual")  # raises ModelFault layer_out_of_range
    return layers


def _encode(lm: LanguageModel, asked: Sequence[AskedPrompt], new_tokens: int) -> list[list[int]]:
    """The ids of every prompt. Before any generation, checks that each fits the context with its answer."""
    encoded = []
    for index, prompt in enumerate(asked):
        text, system = (prompt, None) if isinstance(prompt, str) else (prompt["prompt"], prompt.get("system_prompt"))
        try:
            ids = encode_prompt(lm, text, system)
        except ModelFault as fault:
            raise JobFault(fault.code, f"Prompt {index} (/prompts/{index}): {fault.sentence}", prompt=index) from fault
        if len(ids) + new_tokens > lm.context_length:
            raise JobFault(
                "prompt_too_long",
                f"Prompt {index} (/prompts/{index}): {len(ids)} tokens and {new_tokens} new ones make {len(ids) + new_tokens}; this "
                f"model's context is {lm.context_length}. Shorten the prompt or lower /max_new_tokens.",
                prompt=index,
            )
        encoded.append(ids)
    return encoded


def _generate(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    context: JobContext,
    layers: Sequence[int],
) -> tuple[list[list[int]], dict[str, int]]:
    """Returns every prompt's answer, and the metrics of this attempt."""

    def on_fault(which: Sequence[int]) -> None:
        error = sys.exception()
        if isinstance(error, ModelFault) and error.code == "activations_not_finite":
            _name_the_bad_layer(lm, [prompts[i] for i in which], which, layers, context)

    after = _seconds_of_measuring(lm, prompts, new_tokens, context, layers)
    context.phase("generating", len(prompts) * new_tokens, "tokens", share=GENERATING_SHARE, after=after)
    return answer_all(lm, prompts, new_tokens, context, on_fault=on_fault)


def _seconds_of_measuring(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int, context: JobContext, layers: Sequence[int]
) -> float | None:
    """Estimates the time of measuring, if no answer ends early, by measuring one row twice: the first time includes the set-up cost.

    Its share of the job differs between models and machines (0.05 to 0.4), too much for a fixed estimate. None for few prompts and for a resumed
    job, where it is not worth the time.
    """
    if len(prompts) < WORTH_TIMING or context.cell("generated/000") is not None:
        return None
    typical = sorted(prompts, key=len)[len(prompts) // 2]
    timing = _Timing(context)
    for _ in range(2):
        with closing(TokenValues(len(layers))) as tokens:
            try:
                measure(lm, [Row(typical, [typical[-1]] * new_tokens)], tokens, layers=layers, rule=DEFAULT_RULE, listener=timing)
            except (OutOfMemory, NonFiniteActivations, DegenerateActivations):
                return None  # the row is not one of the job's rows
    return timing.seconds * (len(prompts) + min(FIRST_PROMPTS, len(prompts)))


def _name_the_bad_layer(
    lm: LanguageModel, batch: Sequence[Sequence[int]], which: Sequence[int], layers: Sequence[int], context: JobContext
) -> None:
    """Raises NonFiniteActivations with layer and prompt when reading a prompt shows where NaN begins; else returns."""
    rows = [Row(prompt, ()) for prompt in batch]
    with closing(TokenValues(len(layers))) as tokens:
        try:
            measure(lm, rows, tokens, layers=layers, rule=DEFAULT_RULE, listener=_Checking(context))
        except NonFiniteActivations as error:
            raise NonFiniteActivations(error.layer, which[error.prompt], error.component) from error
        except ValueError:  # the prompts are sound, so the fault is in the answers
            return


def _measure(
    lm: LanguageModel, rows: Sequence[Row], tokens: TokenValues, layers: Sequence[int], rule: str, context: JobContext
) -> Statistics:
    if not any(row.answer for row in rows):
        raise JobFault(
            "no_response_tokens",
            "No answer has a token: the model ended each of them immediately. So there is no response token to measure. Give prompts that it "
            "answers (/prompts), or check its chat template.",
        )
    return measure(lm, rows, tokens, layers=layers, rule=rule, listener=_Measuring(context), kept=context.cell(MEASURED))


class _Checking(Listener):
    """A listener that stops where the job must stop, and counts nothing."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def read(self, done: int, state: Callable[[], bytes]) -> None:
        self._context.check()


class _Timing(_Checking):
    """Measures how long the first reading of the last row took."""

    seconds = 0.0

    def measuring(self, prompts: int) -> None:
        self._began: float | None = time.monotonic()

    def read(self, done: int, state: Callable[[], bytes]) -> None:
        super().read(done, state)
        if self._began is not None:
            self.seconds, self._began = time.monotonic() - self._began, None


class _Measuring(Listener):
    """Reports both passes in the job's progress, and stores the measurement when the job yields or its node drains."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def measuring(self, prompts: int) -> None:
        again = min(FIRST_PROMPTS, prompts)
        self._context.phase("measuring", prompts, "prompts", share=(1 - GENERATING_SHARE) * prompts / (prompts + again))

    def again(self, prompts: int) -> None:
        self._context.phase("measuring again", prompts, "prompts")

    def read(self, done: int, state: Callable[[], bytes]) -> None:
        try:
            self._context.progress(done)
            self._context.may_yield()
        except JobYielded:
            self._context.commit_cell(MEASURED, state())
            raise
