"""`generate`: answers every prompt unsteered and under each vector at each dose, without a judge."""

from collections.abc import Mapping, Sequence

from terms.documents.generation import Answered, GenerationResult
from terms.documents.reading import read_calibration
from terms.specs import GenerationSpec, Prompt
from workers.handlers.calibration import model_of
from workers.job import JobContext, JobFault, Outcome
from workers.lm.errors import ModelFault
from workers.lm.memory import batch_rows_for
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.routing import routing_flips
from workers.lm.sampling import Sampling
from workers.lm.steered import SteeredAnswer, SteeredRow, generate_steered, settled_change
from workers.steering.subjects import Subject
from workers.steering.units import units_for
from workers.steering.vectors import load_named, load_subjects, massive_dims_at

MOST_ROWS = 64


def run(spec: GenerationSpec, context: JobContext) -> Outcome:
    """Spec: model, prompts, vectors by id, doses or coefficients, operation, scope, max_new_tokens, sampling, calibration.

    Without a calibration, raw coefficients are used unchanged, and answers have no dose.

    Raises JobFault: weights_changed, reading_changed, wrong_width, layer_not_calibrated, no_clean_dose, prompt_too_long, no_effect,
    out_of_memory.
    """
    lm = model_of(spec, context)
    try:
        answers, flips = _answers(lm, spec, context)
        result: GenerationResult = {"answers": answers, "weight_hash": lm.facts.weight_hash, **lm.facts.reading}
        return Outcome(result=result, artifacts=[], metrics=flips)
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault


def _answers(lm: LanguageModel, spec: GenerationSpec, context: JobContext) -> tuple[list[Answered], dict[str, int]]:
    prompts = [encode_prompt(lm, prompt["prompt"], prompt["system_prompt"]) for prompt in spec["prompts"]]
    for ids in prompts:
        lm.check_ids(ids, spec["max_new_tokens"])
    looks: list[tuple[Subject | None, float | None]] = [(None, None), *_doses(lm, spec, prompts, context)]
    rows = [_row(ids, subject, r, spec, place) for subject, r in looks for place, ids in enumerate(prompts)]
    context.phase("answering", len(rows), "answers")
    batch = min(MOST_ROWS, batch_rows_for(lm, max(map(len, prompts)), spec["max_new_tokens"], context.batch_budget_bytes))
    answers = generate_steered(
        lm, rows, max_new_tokens=spec["max_new_tokens"], batch_rows=batch, on_step=lambda _counts: context.progress(0)
    )
    context.progress(len(rows))
    flips = routing_flips(lm, [[*row.prompt_ids, *answer.ids] for row, answer in zip(rows, answers, strict=True)])
    asked = [(subject, r, prompt) for subject, r in looks for prompt in spec["prompts"]]
    lines = [
        _line(lm, subject, r, prompt, row, answer) for (subject, r, prompt), row, answer in zip(asked, rows, answers, strict=True)
    ]
    fires = [line["fires"] for row, line in zip(rows, lines, strict=True) if row.pushes]
    needed = min(1, len(fires)) if spec["scope"] == "response" else len(fires)  # an answer may end at its first token
    if sum(map(bool, fires)) < needed:
        raise ModelFault(
            "no_effect",
            f"The vectors acted on {sum(map(bool, fires))} of {len(fires)} answers: the site of the hook does not fit this model, or every "
            "answer ended at its first token.",
        )
    if spec["calibration"] is None:
        lines = [{**line, "r": None, "r_raw": None} for line in lines]
    return lines, flips


def _doses(
    lm: LanguageModel, spec: GenerationSpec, prompts: Sequence[Sequence[int]], context: JobContext
) -> list[tuple[Subject, float | None]]:
    """Every vector with every dose; None where the operation takes no dose. A raw coefficient is converted to a dose, or to a raw dose for a
    vector without a clean dose. Raises JobFault no_clean_dose where doses are requested of such a vector."""
    if not spec["vectors"]:
        return []
    named = load_named(context, spec)
    if spec["calibration"] is None:  # a unit of 1 leaves coefficients unchanged
        massive: Mapping[int, Sequence[int]] = {vector.layer: () for vector in named}
        units = {(vector.component, vector.layer): 1.0 for vector in named}
    else:
        calibration = read_calibration(context.artifact(spec["calibration"]["job"], "calibration.json"))
        massive = massive_dims_at(calibration, named)
        units = units_for(named, lm, calibration, prompts, context)
    looks: list[tuple[Subject, float | None]] = []
    for vector in named:
        [subject] = load_subjects(lm, [vector], units=units, massive=massive, combine=False, asked=[vector.method]).subjects
        if spec["operation"] == "ablate":
            looks.append((subject, None))
        elif spec["coefficients"] is not None:
            looks += [(subject, subject.parts[0].dose(c)) for c in spec["coefficients"]]
        elif subject.has_clean_dose:
            looks += [(subject, r) for r in spec["doses"] or ()]
        else:
            raise JobFault(
                "no_clean_dose",
                f"{vector.id or vector.key} has no clean dose: over 99 % of it lies in massive dims. Give the cleaned vector, or "
                "raw coefficients (/coefficients).",
            )
    return looks


def _row(ids: Sequence[int], subject: Subject | None, r: float | None, spec: GenerationSpec, place: int) -> SteeredRow:
    how = spec["sampling"]
    sampling = None if how is None else Sampling(how["temperature"], how["top_p"], how["seed"] * 1_000_003 + place)
    if subject is None:
        return SteeredRow(ids, (), sampling)
    pushes = subject.pushes(1.0 if r is None else r, operation=spec["operation"], scope=spec["scope"])
    return SteeredRow(ids, pushes, sampling)


def _line(
    lm: LanguageModel, subject: Subject | None, r: float | None, prompt: Prompt, row: SteeredRow, answer: SteeredAnswer
) -> Answered:
    fires = int(answer.effect["fires"]) if row.pushes else 0
    change = answer.effect["mean_change"]
    c = row.pushes[0].coefficient if row.pushes and r is not None else None
    raw = None if c is None or subject is None or row.pushes[0].operation != "add" else c / subject.parts[0].unit_norm
    return {
        "vector": subject.ids[0] if subject else None,
        "source_model": subject.source["source_model"] if subject and subject.source else None,
        "prompt": prompt["prompt"],
        "system_prompt": prompt["system_prompt"],
        "r": None if r is None or subject is None or not subject.has_clean_dose else round(r, 6),
        "r_raw": None if raw is None else round(raw, 6),
        "c": None if c is None else round(c, 4),
        "text": lm.tokenizer.decode(list(answer.ids), skip_special_tokens=True),
        "ended": answer.ended,
        "finite": answer.finite,
        "fires": fires,
        "mean_change": round(change, 6) if change == answer.effect["asked"] else settled_change(change),
    }
