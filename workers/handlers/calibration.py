"""`calibrate`: generate answers to neutral prompts, measure the residual stream over them, write calibration.json.

Generation is batched and its finished chunks are kept as cells. Measuring reads each prompt alone, in order, so the file does not depend
on how the answers were batched, where the job was interrupted or what ran out of memory. Measuring is short and starts over.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from shipped import PROMPTS
from workers.handlers.base import ArtifactBytes, JobContext, JobFault, Outcome
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.generation import GenerationCounts, generate_greedy
from workers.lm.memory import batch_rows_for
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.science.aggregate import aggregate
from workers.science.document import document, provenance, to_bytes
from workers.science.errors import DegenerateActivations, NonFiniteActivations
from workers.science.measuring import Row, measure
from workers.science.statistics import Statistics
from workers.science.tokenvalues import TokenValues

CELL_PROMPTS = 8  # prompts per cell, and more only when there would be over MAX_CELLS cells
MAX_CELLS = 32
MOST_ROWS = 64  # in one batch: what a kill may cost
GENERATING_SHARE = 0.8  # of the job's time, for its estimated end: 0.6 to 0.95 were seen (tests/benchmarks/bench_calibration.py)


def run(spec: dict[str, Any], context: JobContext) -> Outcome:
    """Spec: what a calibration request says of the result, and `weight_hash`.
    Result: `{"calibration": {severity, massive_dims, weight_hash, n_prompts, layers}}` and the
    artifact calibration.json.

    Raises JobFault: weights_changed, layer_out_of_range, empty_prompt, prompt_too_long, chat_template_failed, no_response_tokens,
    activations_not_finite, degenerate_activations. OutOfMemory passes when one row alone does not fit.
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


def _run(spec: dict[str, Any], context: JobContext) -> Outcome:
    lm = context.model(spec["model"])
    _check_weights(lm, spec)
    layers = _layers(lm, spec.get("layers"))
    texts: list[str] = spec.get("prompts") or shipped_prompts()
    new_tokens: int = spec["max_new_tokens"]
    prompts = _encode(lm, texts, new_tokens)
    answers, metrics = _generate(lm, prompts, new_tokens, context, layers)
    rows = [Row(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    with closing(TokenValues(len(layers))) as tokens:
        stats = _measure(lm, rows, tokens, layers, spec["rule"], context)
        found = aggregate(stats, tokens, spec["rule"])
    revision = context.model_facts(spec["model"]).get("revision")
    content = document(
        experiment=spec["experiment"],
        model=spec["model"],
        lm=lm,
        provenance=provenance(lm, revision=revision, prompts=texts, max_new_tokens=new_tokens, stats=stats),
        aggregate=found,
    )
    summary = {
        "severity": found["severity"],
        "massive_dims": found["massive_dims"],
        "weight_hash": lm.facts.weight_hash,
        "n_prompts": stats.prompts,
        "layers": len(stats.layers),
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


def _check_weights(lm: LanguageModel, spec: Mapping[str, Any]) -> None:
    asked = spec.get("weight_hash")
    if asked is not None and asked != lm.facts.weight_hash:
        raise JobFault(
            "weights_changed",
            f"The weights of {spec['model']} are not the ones this job was submitted for (sha256 {asked[:12]} then, "
            f"{lm.facts.weight_hash[:12]} now). Have an administrator inspect the model again, then submit anew.",
        )


def _layers(lm: LanguageModel, asked: Sequence[int] | None) -> list[int]:
    layers = sorted(set(asked)) if asked else list(range(lm.layout.n_layers))
    for layer in layers:
        lm.layout.site(layer, "residual")  # raises ModelFault layer_out_of_range
    return layers


def _encode(lm: LanguageModel, texts: Sequence[str], new_tokens: int) -> list[list[int]]:
    """Ids of every prompt, each checked to fit the context together with its answer, before anything is generated."""
    encoded = []
    for index, text in enumerate(texts):
        try:
            ids = encode_prompt(lm, text)
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
    """Every prompt's answer, from finished cells where there are any, and what this attempt did. Cells are chunks in the prompts'
    order: a fixed plan, whatever the batch size."""
    counts = GenerationCounts()
    rows = min(MOST_ROWS, batch_rows_for(lm, max(map(len, prompts)), new_tokens, context.batch_budget_bytes))
    context.phase("generating", len(prompts) * new_tokens, "tokens", share=GENERATING_SHARE)
    size = max(CELL_PROMPTS, -(-len(prompts) // MAX_CELLS))
    cells = [range(start, min(start + size, len(prompts))) for start in range(0, len(prompts), size)]
    kept = {cell: context.cell(_cell_name(cell)) for cell in range(len(cells))}
    found: dict[int, list[list[int]]] = {cell: json.loads(data) for cell, data in kept.items() if data is not None}
    missing = [cell for cell in range(len(cells)) if cell not in found]
    together = max(1, rows // size)  # cells are the unit of resuming; a batch takes as many of them as fit
    for batch in (missing[i : i + together] for i in range(0, len(missing), together)):
        which = [index for cell in batch for index in cells[cell]]
        done = sum(len(cells[cell]) for cell in found) * new_tokens
        generated = iter(_generate_batch(lm, [prompts[i] for i in which], which, done, new_tokens, rows, context, counts, layers))
        for cell in batch:
            found[cell] = [next(generated) for _ in cells[cell]]
            context.commit_cell(_cell_name(cell), json.dumps(found[cell], separators=(",", ":")).encode())
        context.progress(sum(len(cells[cell]) for cell in found) * new_tokens)
        context.may_yield()
    metrics = {
        "generation_batch_rows": min(rows, together * size, len(prompts)),
        "tokens_computed": counts.tokens_done,
        "halvings": counts.halvings,
        "near_ties_settled": counts.settled_alone,
    }
    return [answer for cell in range(len(cells)) for answer in found[cell]], metrics


def _cell_name(cell: int) -> str:
    return f"generated/{cell:03d}"


def _generate_batch(
    lm: LanguageModel,
    batch: Sequence[Sequence[int]],
    which: Sequence[int],
    done: int,
    new_tokens: int,
    rows: int,
    context: JobContext,
    counts: GenerationCounts,
    layers: Sequence[int],
) -> list[list[int]]:
    """Answers to the prompts number `which`; `done` tokens are accounted for already."""
    before = counts.tokens_done

    def step(tally: GenerationCounts) -> None:
        # rows that end early count in full once the batch is done; rows halved and repeated do not count twice
        context.progress(done + min(tally.tokens_done - before, len(batch) * new_tokens))

    try:
        return generate_greedy(lm, batch, max_new_tokens=new_tokens, batch_rows=rows, on_step=step, counts=counts)
    except ModelFault as fault:
        if fault.code == "activations_not_finite":
            _name_the_bad_layer(lm, batch, which, layers)
        raise


def _name_the_bad_layer(lm: LanguageModel, batch: Sequence[Sequence[int]], which: Sequence[int], layers: Sequence[int]) -> None:
    """Raise NonFiniteActivations with layer and prompt when reading a prompt shows where NaN begins; else return."""
    rows = [Row(prompt, ()) for prompt in batch]
    with closing(TokenValues(len(layers))) as tokens:
        try:
            measure(lm, rows, tokens, layers=layers, rule="massive")
        except NonFiniteActivations as error:
            raise NonFiniteActivations(error.layer, which[error.prompt], error.component) from error
        except ValueError:  # the prompts are sound: it happens in the answers
            return


def _measure(
    lm: LanguageModel, rows: Sequence[Row], tokens: TokenValues, layers: Sequence[int], rule: str, context: JobContext
) -> Statistics:
    if not any(row.answer for row in rows):
        raise JobFault(
            "no_response_tokens",
            f"The model ended every one of {len(rows)} answers at once, so there is no response token to measure. Give prompts that it "
            "answers (/prompts), or check its chat template.",
        )
    context.phase("measuring", len(rows), "prompts")
    return measure(lm, rows, tokens, layers=layers, rule=rule, on_prompt=context.progress)
