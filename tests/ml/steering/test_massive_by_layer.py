"""Cleaning, doses and the arms of a decomposition use the massive dims of the vector's own layer, and with files of schema 1 their one list."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from binnacle.words.massive import massive_at
from terms.methods import parse_method
from workers.extracting.gathered import Calibrated
from workers.lm.interventions import check_pushes
from workers.lm.model import LanguageModel
from workers.science.directions.fitting import Layer, fit_all
from workers.science.examples import Examples
from workers.steering.intervention import Intervention, clean_arm, massive_arm
from workers.steering.vectors import Named, load_subjects, massive_dims_at

WIDTH = 64
BY_LAYER = {"0": [9, 4], "1": [4], "2": []}


def calibration(**changes: Any) -> dict[str, Any]:
    """A calibration with other massive dims at each layer."""
    order = {str(layer): list(range(WIDTH)) for layer in range(3)}
    aggregate = {
        "massive_dims": {"rule": "peeling", "dims": [9, 4]},
        "massive_by_layer": BY_LAYER,
        "ratio_order_by_layer": order,
        "clean_norms": dict.fromkeys(order, 10.0),
        **changes,
    }
    return {"provenance": {"weight_hash": "a" * 64}, "aggregate": aggregate}


def schema_1() -> dict[str, Any]:
    """A calibration of schema 1, with one list for all layers."""
    found = calibration(massive_dims={"rule": "massive", "dims": [9, 4]})
    del found["aggregate"]["massive_by_layer"]
    return found


def vector(layer: int) -> Named:
    numbers = torch.ones(WIDTH) / WIDTH**0.5
    return Named("response[:5]", "residual", "mean_diff", layer, numbers, f"response[:5]/residual/mean_diff/{layer}", None)


def subjects(lm: LanguageModel, content: dict[str, Any], *, combine: bool = False) -> dict[int, Any]:
    named = [vector(layer) for layer in range(3)]
    units = {("residual", layer): 10.0 for layer in range(3)}
    massive = massive_dims_at(content, named)
    loaded = load_subjects(lm, named, units=units, massive=massive, combine=combine, asked=None)
    return {one.layers[0]: one for one in loaded.subjects}


def test_a_dose_and_its_arms_leave_out_the_dims_of_the_vector_s_own_layer(tiny_lm: Callable[..., LanguageModel]) -> None:
    how = Intervention("add", "all", 1)
    for layer, subject in subjects(tiny_lm("llama"), calibration()).items():
        dims = BY_LAYER[str(layer)]
        [part] = subject.parts
        assert list(part.massive) == dims
        assert part.clean_share == pytest.approx(((WIDTH - len(dims)) / WIDTH) ** 0.5)
        [clean], massive = clean_arm(subject, 1.0, how), massive_arm(subject, 1.0, how)
        assert np.flatnonzero(clean.vector == 0).tolist() == sorted(dims)
        assert [np.flatnonzero(push.vector).tolist() for push in massive] == ([sorted(dims)] if dims else [])


def test_the_massive_arm_of_layers_pushed_together_leaves_out_a_layer_without_massive_dims(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    """The engine refuses a vector of zeros, which would fail the job after its search. Both arms add up to the whole push."""
    lm, how = tiny_lm("llama"), Intervention("add", "all", 1)
    together = subjects(lm, calibration(), combine=True)[0]
    pushes = together.pushes(1.0, operation="add", scope="all", sign=1)
    clean, massive = clean_arm(together, 1.0, how), massive_arm(together, 1.0, how)
    assert [push.layer for push in clean] == [0, 1, 2]
    assert [push.layer for push in massive] == [0, 1]
    check_pushes(lm, [*clean, *massive])
    parts = {push.layer: push.vector * push.coefficient for push in clean}
    for push in massive:
        parts[push.layer] = parts[push.layer] + push.vector * push.coefficient
    for push in pushes:
        assert torch.allclose(parts[push.layer], push.vector * push.coefficient, rtol=1e-5)


def test_a_dose_by_a_file_of_schema_1_leaves_out_its_one_list(tiny_lm: Callable[..., LanguageModel]) -> None:
    for subject in subjects(tiny_lm("llama"), schema_1()).values():
        assert list(subject.parts[0].massive) == [9, 4]


def test_a_vector_is_cleaned_of_its_own_layer_s_dims() -> None:
    examples = Examples.build([f"c{i}" for i in range(8)], [f"c{i}" for i in range(8)])
    rows = np.random.default_rng(0).normal(size=(16, WIDTH)).astype(np.float32)
    for content, expected in ((calibration(), BY_LAYER), (schema_1(), {layer: [9, 4] for layer in BY_LAYER})):
        known = Calibrated.read(json.loads(json.dumps(content)))
        for layer, dims in expected.items():
            own = known.massive_at[int(layer)]
            [found] = fit_all(
                Layer(rows, examples, own, known.order[int(layer)]), [parse_method("mean_diff_cleaned")], resamples=0
            )
            assert own == dims == found.fit["zeroed"] == massive_at(content["aggregate"], int(layer))
            assert np.flatnonzero(found.vector_D == 0).tolist() == sorted(dims)
    assert (Calibrated.read(calibration()).rule, Calibrated.read(schema_1()).rule) == ("peeling", "ratio10-3layers")
