"""`extract`: generates answers to a trait's prompts, reads the activations over the answers, fits every method, writes the vectors.

Answers are stored as cells. Reading and fitting are short in comparison and start over after a lost lease, except for rows that an earlier
extraction stored (`rows_from`). The files hold no time, host, path or id: the same spec gives the same bytes.
"""

import json
from collections.abc import Mapping, Sequence

from app.formats.tensorfile import to_bytes
from binnacle.words.counting import counted
from terms.documents.extraction import CapturePlan, ExtractionResult, ExtractionSummary
from terms.documents.reading import read_calibration, read_extraction, read_trait
from terms.documents.trait import TraitDataset
from terms.methods import parse_method
from terms.positions import Position, parse_position
from terms.specs import ExtractionSpec
from workers.extracting import vetting
from workers.extracting.document import describe, document
from workers.extracting.examples import Prompted, encode_examples, from_lines, given_ids, split, to_lines, with_responses
from workers.extracting.fits import Fitted, fit_everything
from workers.extracting.gathered import Calibrated, Gathered
from workers.extracting.rowsfile import read_rows, write_rows
from workers.handlers.calibration import model_of
from workers.job import ArtifactBytes, JobContext, JobFault, Outcome
from workers.lm.answering import answer_all
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.gather import Example, Rows, gather_rows
from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import reading_tokens
from workers.science.degenerate import DegenerateRows

ANSWERING_SHARE, READING_SHARE = 0.5, 0.2


def run(spec: ExtractionSpec, context: JobContext) -> Outcome:
    """Spec: the fields of an extraction request that affect the result, with keys of methods, controls and refits spelt out.

    Raises JobFault: weights_changed, reading_changed, too_many_vectors, layer_out_of_range, unknown_component, prompt_too_long, class_vanished,
    activations_not_finite, layer_not_calibrated and the codes of workers.science.degenerate. OutOfMemory passes when one example alone does not
    fit.
    """
    try:
        return _run(spec, context)
    except OutOfMemory:
        raise
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault
    except DegenerateRows as error:
        raise JobFault(error.code, str(error)) from error


def _run(spec: ExtractionSpec, context: JobContext) -> Outcome:
    trait = read_trait(context.blob(spec["trait"]["version"]))
    calibration = _calibration(spec, context)
    lm = model_of(spec, context)
    layers = spec["layers"] if spec["layers"] is not None else list(range(lm.layout.n_layers))
    _check_vectors(spec, len(layers))
    positions = [parse_position(text) for text in spec["positions"]]
    for component in spec["components"]:
        for layer in layers:
            lm.layout.site(layer, component)
    examples, metrics = _examples(lm, spec, trait, context)
    examples = split(examples, spec["validation_share"], spec["seed"])
    rows, batch_plan = _rows(lm, spec, examples, positions, layers, context)
    _check_classes(examples, rows.kept, positions)
    gathered = Gathered(lm, spec, examples, rows, [str(position) for position in positions], layers, calibration, batch_plan)
    methods = [parse_method(key) for key in dict.fromkeys([*spec["methods"], *spec["controls"], *spec["refits"]])]
    context.phase("fitting", len(gathered.sites), "layers")
    fitted = fit_everything(gathered, methods, context.progress)
    keep_rows = spec["keep_rows"] and spec["rows_from"] is None and _may_keep(spec, rows)
    summary: ExtractionSummary = {
        "examples": len(examples),
        "kept": sum(example.kept for example in examples),
        "validation": sum(not example.train for example in examples),
        "empty_windows": {position: len(examples) - len(kept) for position, kept in rows.kept.items()},
        "vectors": len(fitted),
        "rows_kept": keep_rows,
    }
    result: ExtractionResult = {
        "weight_hash": lm.facts.weight_hash,
        **lm.facts.reading,
        "positions": spec["positions"],
        "components": spec["components"],
        "layers": layers,
        "rows_key": spec["rows_key"],
        "summary": summary,
    }
    return Outcome(
        result={"extraction": result, "vectors": [describe(vector, gathered.rule) for vector in fitted]},
        artifacts=_files(gathered, fitted, keep_rows=keep_rows),
        metrics=metrics,
    )


def _check_vectors(spec: ExtractionSpec, layers: int) -> None:
    """Raises JobFault too_many_vectors for an extraction over the limit that the service left to the job."""
    methods = len({*spec["methods"], *spec["controls"], *spec["refits"]})
    vectors = len(spec["positions"]) * len(spec["components"]) * layers * methods
    if "limits" in spec and vectors > spec["limits"]["vectors"]:
        raise JobFault(
            "too_many_vectors",
            f"{counted(len(spec['positions']), 'position')} x {counted(len(spec['components']), 'component')} x {counted(layers, 'layer')} x "
            f"{counted(methods, 'method')} with their controls and refits = {counted(vectors, 'vector')}; this server "
            f"allows {spec['limits']['vectors']:,}. Submit it again with fewer layers, methods or controls.",
        )


def _may_keep(spec: ExtractionSpec, rows: Rows) -> bool:
    """Whether the rows are within the limit of bytes that the service left to the job."""
    return "limits" not in spec or sum(values.nbytes for values in rows.values.values()) <= spec["limits"]["rows_bytes"]


def _calibration(spec: ExtractionSpec, context: JobContext) -> Calibrated | None:
    if spec["calibration"] is None:
        return None
    calibration = Calibrated.read(read_calibration(context.artifact(spec["calibration"]["job"], "calibration.json")))
    if spec["weight_hash"] is not None and calibration.weight_hash != spec["weight_hash"]:
        raise JobFault(
            "calibration_of_another_model",
            f"The calibration describes weights {calibration.weight_hash[:12]}, the model has {spec['weight_hash'][:12]}. "
            "Calibrate the model again.",
        )
    return calibration


def _examples(
    lm: LanguageModel, spec: ExtractionSpec, trait: TraitDataset, context: JobContext
) -> tuple[list[Prompted], dict[str, int]]:
    """Every example with its response: from an earlier extraction, from the dataset, or generated."""
    if spec["rows_from"] is not None:
        return from_lines(lm, context.artifact(spec["rows_from"], "responses.jsonl")), {}
    new_tokens = spec["max_new_tokens"]
    examples = encode_examples(lm, trait, new_tokens)
    metrics: dict[str, int] = {}
    if spec["responses"] == "given":
        answers = given_ids(lm, examples, new_tokens)
    elif new_tokens:
        context.phase("answering", len(examples) * new_tokens, "tokens", share=ANSWERING_SHARE)
        answers, metrics = answer_all(lm, [example.ids for example in examples], new_tokens, context)
    else:
        answers = [[] for _ in examples]
    examples = with_responses(lm, examples, answers)
    if spec["vetting"] is not None:
        examples = vetting.vetted(lm, examples, trait, spec["vetting"], context)
    return examples, metrics


def _rows(
    lm: LanguageModel,
    spec: ExtractionSpec,
    examples: Sequence[Prompted],
    positions: Sequence[Position],
    layers: Sequence[int],
    context: JobContext,
) -> tuple[Rows, CapturePlan]:
    """The activation rows, captured now or read from an earlier extraction, and the passes in which they were captured."""
    if spec["rows_from"] is not None:
        kept = read_rows(context.artifact(spec["rows_from"], "rows.safetensors"), examples)
        earlier = read_extraction(context.artifact(spec["rows_from"], "extraction.json"))
        return kept.at(list(map(str, positions)), spec["components"], layers), earlier["provenance"]["batch_plan"]
    context.phase("reading", len(examples), "examples", share=READING_SHARE)
    rows = gather_rows(
        lm,
        [Example(example.ids, example.response_ids) for example in examples],
        positions=positions,
        components=spec["components"],
        layers=layers,
        on_batch=context.progress,
    )
    assert rows.plan is not None, "they were captured"
    return rows, {"capture_tokens": reading_tokens(lm), **rows.plan.to_dict()}


def _check_classes(examples: Sequence[Prompted], kept: Mapping[str, Sequence[int]], positions: Sequence[Position]) -> None:
    """Raises JobFault class_vanished when no training example of a class has a token in some window."""
    for position in map(str, positions):
        for label in ("positive", "negative"):
            if not any(examples[i].label == label and examples[i].train and examples[i].kept for i in kept[position]):
                raise JobFault(
                    "class_vanished",
                    f"No {label} training example has a token in {position}: their responses are too short, or "
                    "vetting dropped them all. Choose another position, or read responses.jsonl of an extraction with a wider position.",
                    position=position,
                )


def _files(gathered: Gathered, fitted: Sequence[Fitted], *, keep_rows: bool) -> list[ArtifactBytes]:
    lm, spec, examples = gathered.lm, gathered.spec, gathered.examples
    metadata = {
        "model": spec["model"],
        "weight_hash": lm.facts.weight_hash,
        "trait": spec["trait"]["name"],
        "trait_version": spec["trait"]["version"],
    }
    content = document(gathered, fitted)
    files = [
        ArtifactBytes(
            "vectors.safetensors",
            to_bytes({vector.key: vector.direction.vector_D for vector in fitted}, metadata),
            "application/octet-stream",
        ),
        ArtifactBytes("extraction.json", (json.dumps(content, indent=1, allow_nan=False) + "\n").encode(), "application/json"),
        ArtifactBytes("responses.jsonl", to_lines(examples), "application/jsonl"),
    ]
    if keep_rows:
        files.append(ArtifactBytes("rows.safetensors", write_rows(gathered.rows, examples), "application/octet-stream"))
    return files
