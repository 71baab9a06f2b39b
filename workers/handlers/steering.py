"""`steer`: searches each vector's dose on selection questions, and reports its gain on test questions next to controls, with intervals.

Every finished run is stored as a cell and reused, never generated or judged again. The next dose depends on recorded results alone, so a killed
job continues as if it had not been interrupted.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing

from terms.documents.reading import read_calibration, read_trait
from terms.documents.trait import TraitDataset
from terms.methods import is_control
from terms.specs import SteeringSpec
from workers.handlers.calibration import model_of
from workers.job import JobContext, JobFault, Outcome
from workers.judges.base import Judge
from workers.judges.material import Material
from workers.judges.opening import bytes_left_by, open_judge
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.memory import batch_rows_for
from workers.lm.model import LanguageModel
from workers.steering.effects import Scoring
from workers.steering.evaluator import Evaluator
from workers.steering.intervention import Intervention
from workers.steering.judge_usable import check_failures
from workers.steering.offtarget import responses_of
from workers.steering.outcome import outcome_of
from workers.steering.questions import Question, later_sets, question_sets
from workers.steering.setup import Setup
from workers.steering.stages import steer
from workers.steering.units import units_for
from workers.steering.vectors import Loaded, load_named, load_subjects, massive_dims_at

MOST_ROWS = 64


def run(spec: SteeringSpec, context: JobContext) -> Outcome:
    """Runs a steering: searches every vector's dose, compares the chosen doses with controls, and returns the summary with its files.

    The spec holds the fields of a steering request that affect the result, with vectors, judge and calibration resolved.

    Raises JobFault: weights_changed, reading_changed, missing_input, no_vectors, only_controls, grid_too_large, wrong_width,
    layer_not_calibrated, no_questions, prompt_too_long, no_effect, no_clean_dose, judge_unusable. OutOfMemory passes when one row alone does
    not fit.
    """
    try:
        return _run(spec, context)
    except OutOfMemory:
        raise
    except ModelFault as fault:
        raise JobFault(fault.code, fault.sentence) from fault


def _run(spec: SteeringSpec, context: JobContext) -> Outcome:
    """`run` with ModelFaults as they are: loads inputs, model, questions and vectors, opens the judge, runs the stages, builds the result."""
    trait = read_trait(context.blob(spec["trait"]["version"]))
    calibration = read_calibration(context.artifact(spec["calibration"]["job"], "calibration.json"))
    named = load_named(context, spec)
    lm = model_of(spec, context)
    sets = question_sets(lm, spec, trait)
    others = {other["trait"]["name"]: read_trait(context.blob(other["trait"]["version"])) for other in spec.get("off_target", ())}
    later = later_sets(lm, spec, trait, others, sets["test"])
    units = units_for(named, lm, calibration, [question.prompt_ids for question in sets["selection"]], context)
    massive = massive_dims_at(calibration, named)
    asked = {method for source in spec.get("from") or () for method in source["methods"] or ()} or None
    loaded = load_subjects(lm, named, units=units, massive=massive, combine=spec["combine"], asked=asked)
    _check_competing(spec, loaded)

    longest = max(len(question.prompt_ids) for questions in (*sets.values(), *later.values()) for question in questions)
    left = bytes_left_by(spec["judge"], context.batch_budget_bytes)
    rows = min(MOST_ROWS, batch_rows_for(lm, longest, spec["max_new_tokens"], left))
    sign = -1 if trait["steering"]["direction"] == "negative" else 1
    with closing(_judge(spec, lm, trait, sets, _steered_answers(spec, sets, loaded), context)) as judge:
        setup = Setup(
            spec=spec,
            lm=lm,
            trait=trait,
            sets=sets,
            later=later,
            evaluator=Evaluator(
                lm, context, judge, max_new_tokens=spec["max_new_tokens"], batch_rows=rows, sampling=spec["sampling"]
            ),
            how=Intervention(spec["operation"], spec["scope"], sign, spec["ablate_plain"]),
            scoring=Scoring(spec["coherence_threshold"], sign, spec["seed"]),
            rows=rows,
            massive=massive,
            aggregate=calibration["aggregate"],
        )
        findings = steer(setup, loaded, context)
        check_failures(findings.runs)
        return outcome_of(setup, findings, judge)


def _check_competing(spec: SteeringSpec, loaded: Loaded) -> None:
    """Raises JobFault only_controls where no vector can lead, and grid_too_large for more vectors than the limit of answers allows, which the
    service left to the job."""
    if all(is_control(subject.method) for subject in loaded.competing):
        raise JobFault(
            "only_controls",
            "All of the vectors are controls (random, or fitted on shuffled labels). Steer with a method beside them.",
        )
    if "most_searched" in spec and len(loaded.competing) > spec["most_searched"]:
        raise JobFault(
            "grid_too_large",
            f"The doses of {len(loaded.competing):,} vectors would be searched, one for each method and layer; this server's limit of answers "
            f"allows {spec['most_searched']:,} here. Submit it again with fewer layers or methods, a lower budget, or fewer questions.",
        )


def _judge(
    spec: SteeringSpec,
    lm: LanguageModel,
    trait: TraitDataset,
    sets: Mapping[str, Sequence[Question]],
    steered_answers: int,
    context: JobContext,
) -> Judge:
    """Opens the judge of the spec, with the extraction's responses for a judge that is fitted; the caller closes it.

    A fit's part of the job, for the estimated end, is the number of questions over questions plus `steered_answers`.
    """
    context.phase("preparing the judge", 1, "judges", share=0.01)
    questions = [question.described() for of_set in sets.values() for question in of_set]
    material = Material(
        trait,
        responses_of(spec["extraction"], context),
        spec["max_new_tokens"],
        given=spec.get("responses_given", False),
        questions=questions,
    )
    judge = open_judge(spec["judge"], lm, material, context, share=len(questions) / (len(questions) + steered_answers))
    context.check()
    return judge


def _steered_answers(spec: SteeringSpec, sets: Mapping[str, Sequence[Question]], loaded: Loaded) -> int:
    """The approximate number of answers, for the estimated end only."""
    searched = [subject for subject in loaded.competing if subject.same_as is None]
    doses = 1 if spec["operation"] == "ablate" else len(spec["doses"] or spec["coefficients"] or ()) or spec["budget"]
    runs = 1 + len(spec["matched"]) + spec["controls"]["random"] + spec["controls"]["shuffled"]
    groups = len({subject.group for subject in searched})
    return len(searched) * doses * len(sets["selection"]) + groups * runs * len(sets["test"])
