"""A steering job runs no more answers than its request was priced at, an equal vector once, and refuses a search that the service's limit does
not allow."""

import json

import pytest
from safetensors.numpy import load as load_safetensors

from app.formats.tensorfile import to_bytes
from app.steerings.limits import Grid, answers
from app.steerings.schemas import SteeringRequest
from tests.ml.fake_context import FakeContext
from tests.ml.handlers.test_extraction_handler import TRAIT, files, spec_of
from tests.ml.steering_jobs import FEW, NO_CONTROLS, Files, _fitted_once, context, extracted, severe, steer_spec
from workers.handlers import extraction, steering
from workers.job import JobFault
from workers.lm.model import LanguageModel

__all__ = ["_fitted_once", "extracted", "severe"]


def test_a_search_over_the_limit_that_the_service_left_to_the_job_is_refused(severe: LanguageModel, extracted: Files) -> None:
    with pytest.raises(JobFault, match=r"The doses of 3 vectors would be searched.* allows 2 here") as fault:
        steering.run(steer_spec(severe, most_searched=2), context(severe, extracted))
    assert fault.value.code == "grid_too_large"


def test_a_job_generates_no_more_answers_than_its_stated_cost(severe: LanguageModel, extracted: Files) -> None:
    """The stated cost once left out refits, the whole vector beside its parts, and unsteered answers to questions of other traits and of the
    reference protocol."""
    calibrated = extracted["job_cal", "calibration.json"]
    asked = spec_of(severe, layers=[3], methods=["mean_diff"], controls=[], max_new_tokens=24)
    asked |= {"refits": [f"mean_diff__refit{k}" for k in (1, 2)]}
    blobs, given = {TRAIT.version: TRAIT.data}, {("job_cal", "calibration.json"): calibrated}
    made = files(extraction.run(asked, FakeContext(severe, blobs=blobs, artifacts=given)))
    parts = {"job": "job_ext", "methods": ["mean_diff", *asked["refits"]], "layers": [3], "positions": None, "components": None}
    other = {"trait": {"name": "refusal", "version": TRAIT.version}, "extraction": "job_ext"}
    changes = {"doses": [0.7], "matched": [], "controls": NO_CONTROLS, "reference_protocol": True, **FEW}
    spec = steer_spec(severe, **changes, off_target=[other]) | {"from": [parts]}
    outcome = files(steering.run(spec, context(severe, given | {("job_ext", name): data for name, data in made.items()})))
    request = SteeringRequest.model_validate({"model": "demo-severe", "trait": "refusal", "decomposition": True, **changes})
    selection, test = FEW["selection_limit"], FEW["test_limit"]
    most, _ = answers(request, Grid(cells=1, groups=1, refits=2, selection=selection, test=test, off_target=test))
    # the whole vector at the leader's dose is its best run here
    assert most - test == len(outcome["responses.jsonl"].splitlines())
    # matched at equal dose there is one more run at the dose, and none for the whole vector beside its parts
    at_dose = request.model_copy(update={"matched": ["dose"]})
    assert answers(at_dose, Grid(1, 1, selection, test)) == answers(request, Grid(1, 1, selection, test))


def test_the_same_vector_under_two_names_is_run_once(severe: LanguageModel, extracted: Files) -> None:
    changed = dict(extracted)
    vectors = load_safetensors(extracted["job_ext", "vectors.safetensors"])
    vectors["response[:5]/residual/mean_diff_cleaned/3"] = vectors["response[:5]/residual/probe/3"]
    changed["job_ext", "vectors.safetensors"] = to_bytes(vectors, {})
    spec = steer_spec(severe, decomposition=False, controls=NO_CONTROLS, **FEW)
    outcome = files(steering.run(spec, context(severe, changed)))
    summary = json.loads(outcome["summary.json"])
    groups = {one["method"]: one for one in summary["groups"]}
    assert groups["probe"]["same_as"] == groups["mean_diff_cleaned"]["subject"]
    assert groups["probe"]["best"]["run"] == groups["mean_diff_cleaned"]["best"]["run"]
    runs = [json.loads(line) for line in outcome["runs.jsonl"].splitlines()]
    assert {one["label"].split("/")[-2] for one in runs if one["vector"]} == {"mean_diff", "mean_diff_cleaned"}
