"""Our dose search and that of the reference implementation on a model with a 1000x massive dim, with generated and judged answers.

The same is shown on simulated dose-responses in tests/ml/science (test_search.py and test_search_reference.py).
"""

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.ml.steering_jobs import Files, _fitted_once, context, extracted, severe, steer_spec
from workers.handlers import steering
from workers.job import Outcome
from workers.lm.capture import reading
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt

__all__ = ["_fitted_once", "extracted", "severe"]

LAYER, BUDGET, COHERENT = 3, 6, 70
QUICK: dict[str, Any] = {
    "controls": {"random": 0, "shuffled": 0, "prompt_only": False}, "matched": [], "decomposition": False, "selection_limit": 10,
    "test_limit": 20, "max_new_tokens": 24,
}  # fmt: skip


def steered(lm: LanguageModel, extracted: Files, methods: list[str], **changes: Any) -> Outcome:
    source = {"job": "job_ext", "methods": methods, "layers": [LAYER], "positions": None, "components": None}
    return steering.run(steer_spec(lm, **QUICK, **{"from": [source]}, **changes), context(lm, extracted))


def summary(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(one.data for one in outcome.artifacts if one.name == "summary.json"))  # type: ignore[arg-type]
    return found


@pytest.fixture(scope="module")
def ours(severe: LanguageModel, extracted: Files) -> dict[str, Any]:
    return summary(steered(severe, extracted, ["mean_diff", "probe"], doses=None, budget=BUDGET))


def test_ours_ends_in_the_useful_range_within_its_budget(ours: dict[str, Any]) -> None:
    """For both vectors, though one lies mostly in the massive dim; measured on held-out questions."""
    for subject in ours["subjects"]:
        assert 1 <= len(subject["curve"]) <= BUDGET
    groups = {one["method"]: one["best"] for one in ours["groups"]}
    for method in ("mean_diff", "probe"):
        assert groups[method]["delta"] > 40, method
        assert groups[method]["coherence"] >= COHERENT, method
        assert 0.1 <= groups[method]["r"] <= 4


def full_norm(lm: LanguageModel) -> float:
    """The norm from which the reference begins: the mean over three questions at the last token, massive dims included."""
    norms: list[float] = []
    for question in ("how do i bake bread ?", "explain how to learn chess .", "tell me about boats ."):
        ids = encode_prompt(lm, question)
        with reading(lm, {"residual": lambda _l, _c, h: norms.append(float(h[0, -1].norm()))}, [LAYER]), torch.no_grad():
            lm.layout.decoder(input_ids=torch.tensor([ids]), use_cache=False)
    return float(np.mean(norms))


def test_the_reference_s_search_never_reaches_a_coherent_dose_on_the_same_model(
    severe: LanguageModel,
    extracted: Files,
    ours: dict[str, Any],
) -> None:
    """It begins at 0.7 of the full norm and multiplies by 0.85 while a dose is incoherent, by 1.3 once it is not, smoothed by 0.1.

    The five doses run are those that it tries while each is incoherent; all are incoherent, so these are its doses.
    """
    c, velocity, tried = 0.7 * full_norm(severe), 1.0, []
    for _ in range(5):
        tried.append(c)
        velocity = 0.1 * velocity + 0.9 * 0.85
        c *= velocity
    found = summary(steered(severe, extracted, ["probe"], doses=None, coefficients=tried))
    [subject] = found["subjects"]
    assert sorted(point["c"] for point in subject["curve"]) == pytest.approx(sorted(tried), rel=1e-3)
    assert max(point["coherence"] for point in subject["curve"]) < COHERENT
    probe = next(one for one in ours["groups"] if one["method"] == "probe")
    assert min(tried) > 3 * probe["best"]["c"]  # it is still far above the dose that steers
    assert found["groups"][0]["best"]["delta_joint"] < 0.25 * probe["best"]["delta_joint"]
