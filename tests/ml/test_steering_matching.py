"""How a steering job compares vectors where the leader's own dose is out of the ordinary."""

from typing import Any

from tests.ml.steering_jobs import FEW, NO_CONTROLS, Files, _fitted_once, extracted, severe, summary_of
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
