"""How a steering job compares vectors where the leader's own dose is out of the ordinary."""

from typing import Any

import pytest
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from tests.ml.steering_jobs import FEW, NO_CONTROLS, Files, _fitted_once, extracted, severe, summary_of
from workers.job import JobFault
from workers.lm.model import LanguageModel
from workers.steering.matching import OVERFLOWED

__all__ = ["_fitted_once", "extracted", "severe"]


def probed(lm: LanguageModel, extracted: Files, **changes: Any) -> dict[str, Any]:
    """The summary of a steering with few questions at raw coefficients, without controls."""
    source = {"job": "job_ext", "methods": ["probe"], "layers": [3], "positions": None, "components": None}
    plain: dict[str, Any] = {"doses": None, "decomposition": False, "controls": NO_CONTROLS, "from": [source], **FEW}
    return summary_of(lm, extracted, **plain | changes)


def test_nothing_matches_the_divergence_of_a_leader_that_broke_the_model(severe: LanguageModel, extracted: Files) -> None:
    """A coefficient that overflows float32. Its divergence was NaN, which every dose matched."""
    found = probed(severe, extracted, coefficients=[1e39], matched=["divergence"])
    [group] = found["groups"]
    assert group["best"]["finite"] == 0
    assert group["unreachable"] == {"divergence": OVERFLOWED}
    assert found["divergence_nats"] == {"divergence_1_nat": 1.0}
    assert 0 < group["matched"]["divergence_1_nat"]["c"] < 100, "one nat is a finite push"


def test_a_negative_coefficient_is_compared_at_its_own_sign(severe: LanguageModel, extracted: Files) -> None:
    """The vectors turned round, at the opposite coefficient, are the same pushes: every comparison has the same texts. Each was at a push in the
    other direction."""
    few: dict[str, Any] = {
        "matched": ["dose", "coherence", "divergence", "coefficient"], "reference_protocol": True, "selection_limit": 2, "test_limit": 2,
    }  # fmt: skip
    both = [{"job": "job_ext", "methods": ["probe", "mean_diff"], "layers": [3], "positions": None, "components": None}]
    vectors = load_safetensors(extracted["job_ext", "vectors.safetensors"])
    turned = {**extracted, ("job_ext", "vectors.safetensors"): save_safetensors({key: -one for key, one in vectors.items()})}
    against = probed(severe, turned, coefficients=[-20.0], **{"from": both}, **few)
    along = probed(severe, extracted, coefficients=[20.0], **{"from": both}, **few)
    assert along["leader"] == against["leader"]
    for one, other in zip(along["groups"], against["groups"], strict=True):
        assert {way for way, run in one["matched"].items() if run} >= {"dose", "coherence", "divergence", "coefficient"}
        for way, run in one["matched"].items():
            facing = other["matched"][way]
            assert (run is None) == (facing is None)
            if run is not None:
                assert facing["c"] == pytest.approx(-run["c"])
                assert {name: facing[name] for name in ("trait", "coherence", "length")} == {
                    name: run[name] for name in ("trait", "coherence", "length")
                }
    protocols = along["reference_protocol"], against["reference_protocol"]
    assert [one["around"]["c"] for one in protocols] == [20, -20]
    first, second = ([row["trait"] for row in one["rows"]] for one in protocols)
    assert first == second


def test_controls_alone_are_refused_before_the_search(severe: LanguageModel, extracted: Files) -> None:
    """As submit refuses them; a job of before may hold them."""
    source = {"job": "job_ext", "methods": ["shuffled__of-probe__seed1"], "layers": [3], "positions": None, "components": None}
    with pytest.raises(JobFault, match="only_controls"):
        probed(severe, extracted, doses=[0.3], **{"from": [source]})
