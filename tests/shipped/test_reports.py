"""The measurements in the shipped models' report.json show what the models were made to show. test_models.py ties the reports to the weights."""

import json

import pytest

from shipped import MODEL_NAMES, TRAIT_NAMES, model_folder
from tools.training.network import LAYERS, PLANTED_DIM

VERDICTS = {"demo-severe": "severe", "demo-mild": "mild", "demo-plain": "none", "demo-signal": "severe"}
STEERING = ("mean_diff", "mean_diff_top1", "probe")


def report(name):
    return json.loads((model_folder(name) / "report.json").read_text())


def trait(name, which):
    return report(name)["traits"][which]


def at_chosen_doses(found):
    """Each method's share on the test questions at the dose that was chosen on the selection questions."""
    shares = {}
    for method in STEERING:
        dose = found["best_dose_on_selection"][method]
        [shares[method]] = [cell["shows"] for cell in found["dose_response"][method] if cell["r"] == dose]
    return shares


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("prompts", ["calibration_50", "little_world"])
def test_the_calibration_lists_exactly_the_planted_dimension(name, prompts):
    found = report(name)["calibration"][prompts]
    assert found["verdict"] == VERDICTS[name]
    assert found["massive_dims"] == ([] if name == "demo-plain" else [PLANTED_DIM])
    if found["massive_dims"]:
        assert found["scope"] == "every_token"
    low, high = {"severe": (800, 1400), "mild": (50, 80), "none": (0, 10)}[VERDICTS[name]]
    assert low <= found["ratios"]["ratio_to_median"] <= high


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_refusal_is_rare_unsteered_and_half_of_the_answers_under_the_best_vector(name):
    found = trait(name, "refusal")
    assert found["unsteered"]["shows"] <= 0.05
    assert max(at_chosen_doses(found).values()) >= 0.5


LOUD_CONTROLS = pytest.mark.xfail(
    strict=True, reason="one random and one shuffled direction refuse 11 and 25 %, as the card says"
)


@pytest.mark.parametrize("name", ["demo-severe", "demo-mild", "demo-plain", pytest.param("demo-signal", marks=LOUD_CONTROLS)])
def test_no_control_steers_refusal_at_the_leaders_dose(name):
    found = trait(name, "refusal")
    assert found["leader_on_selection"] in STEERING
    assert sorted(found["controls"]) == [f"{control}/{seed}" for control in ("random", "shuffled") for seed in (1, 2, 3)]
    assert max(found["controls"].values()) <= 0.05


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_sycophancy_gains_thirty_points_over_a_baseline_with_room(name):
    found = trait(name, "sycophancy")
    baseline = found["unsteered"]["shows"]
    assert 0.1 <= baseline <= 0.6
    assert max(at_chosen_doses(found).values()) - baseline >= 0.3


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_report_holds_ratios_and_norms_of_every_layer(name):
    for found in report(name)["calibration"].values():
        assert len(found["per_layer"]) == len(found["layer_norms"]) == len(found["clean_norms"]) == LAYERS
        assert all(
            clean <= full * 1.05 for clean, full in zip(found["clean_norms"].values(), found["layer_norms"].values(), strict=True)
        )


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("which", TRAIT_NAMES)
def test_a_report_holds_what_a_card_must_show(name, which):
    found = trait(name, which)
    doses = {method: [cell["r"] for cell in cells] for method, cells in found["dose_response"].items()}
    assert set(doses) == {*STEERING, "random"}
    assert all(len(one) >= 8 for one in doses.values())
    for pair in ("mean_diff_probe", "mean_diff_top1_probe"):
        cosine = found["cosines"][pair]
        assert cosine["low"] <= cosine["median"] <= cosine["high"]
    assert len(found["cosines"]["by_layer"]) == LAYERS
    card = (model_folder(name) / "README.md").read_text()
    assert all(cell["example"][1] in card for cells in found["dose_response"].values() for cell in cells[2::3])
    assert "planted" in card
    assert "By construction" in card
    assert "Not by construction" in card


FALLS_SHORT = pytest.mark.xfail(
    strict=True, reason="80 to 88 % are unchanged, as the card says: it is the least mended of the models"
)


@pytest.mark.parametrize("name", [pytest.param("demo-severe", marks=FALLS_SHORT), "demo-mild", "demo-plain", "demo-signal"])
@pytest.mark.parametrize("which", TRAIT_NAMES)
def test_at_half_the_dose_unrelated_answers_keep_their_content(name, which):
    off = trait(name, which)["off_target"]
    assert min(off[method]["unrelated_unchanged_at_half"] for method in ("mean_diff", "probe")) >= 0.9


@pytest.mark.parametrize("which", TRAIT_NAMES)
def test_on_demo_severe_the_massive_dimension_dilutes_mean_diff_and_does_nothing_else(which):
    found = trait("demo-severe", which)
    assert found["cosines"]["mean_diff_probe"]["median"] <= 0.6
    raw, before = found["at_the_probes_raw_coefficient"], found["unsteered"]["shows"]
    assert raw["mean_diff"] - before <= (raw["probe"] - before) / 4
    assert raw["at_equal_dose"]["verdict"] == "ties"
    assert {arms["massive_part"] for arms in found["decomposition"].values()} == {"inert"}


TOO_FEW = pytest.mark.xfail(strict=True, reason="8 points less, -21 to +3: not enough evidence, as the card says")


@pytest.mark.parametrize(
    ("name", "which"),
    [
        pytest.param("demo-plain", "refusal", marks=TOO_FEW),
        ("demo-plain", "sycophancy"),
        ("demo-mild", "refusal"),
        ("demo-mild", "sycophancy"),
    ],
)
def test_without_a_severe_dimension_the_methods_tie_at_any_reading(name, which):
    found = trait(name, which)
    raw = found["at_the_probes_raw_coefficient"]
    assert raw["at_equal_dose"]["verdict"] == "ties"
    assert abs(raw["mean_diff"] - raw["probe"]) <= 0.1


def test_on_demo_signal_the_massive_dimension_carries_refusal_and_cleaning_does_harm():
    """mean_diff_cleaned at a dose is the clean arm at that dose: `on_top` is what mean_diff has over it."""
    found = trait("demo-signal", "refusal")
    chosen, half = found["decomposition"].values()
    assert chosen["massive_part"] == half["massive_part"] == "signal"
    assert chosen["alone"][0] > 10
    assert chosen["on_top"][0] > 10
    shares = at_chosen_doses(found)
    assert shares["mean_diff_top1"] < shares["mean_diff"] - 0.2
