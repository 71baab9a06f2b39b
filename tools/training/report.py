"""Measuring what the card of a shipped model states. Everything is greedy, seeded and run on the CPU in float32."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from shipped import PROMPTS
from tools.training import traits
from tools.training.calibrating import calibrate
from tools.training.comparing import Bench, decomposition, raw_coefficient
from tools.training.directions import cosine, mean_diff, probe, random_direction, rownorm, shuffled, unit, without
from tools.training.dosing import Site, dose_response, measured, push_all, unchanged
from tools.training.engine import Row, answers, window_means
from tools.training.folder import weights_hash
from tools.training.parser import read_answer
from tools.training.resampling import cosine_range
from tools.training.traits import Trait

LAYER = 2
DOSES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1, 1.4)
CURVES = ("mean_diff", "mean_diff_top1", "probe", "random")
SEEDS = (1, 2, 3)
NEARLY = 0.05
"""Shares of answers that differ by less are one: with a few dozen questions the standard error is larger."""


def measure_model(folder: Path) -> dict[str, Any]:
    """The whole report of the model in this folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    calibrations = {name: calibrate(folder, prompts_of(name)) for name in ("calibration_50", "little_world")}
    found = calibrations["calibration_50"]
    by_layer = {int(layer): dims for layer, dims in found["massive_by_layer"].items()}
    site = Site(LAYER, found["clean_norms"][str(LAYER)], by_layer[LAYER])
    return {
        "weights_sha256": weights_hash(folder),
        "layer": LAYER,
        "calibration": {name: essentials(one) for name, one in calibrations.items()},
        "traits": {
            trait.name: measure_trait(model, tokenizer, site, by_layer, trait)
            for trait in (traits.refusal(), traits.sycophancy())
        },
    }


def prompts_of(name: str) -> list[str]:
    """The texts of a shipped prompt set."""
    return [row["text"] for row in json.loads((PROMPTS / f"{name}.json").read_text())["prompts"]]


def essentials(found: dict[str, Any]) -> dict[str, Any]:
    """What the card shows of a calibration."""
    severity = found["severity"]
    dim = str(severity["dominant_dim"])
    return {
        "verdict": severity["verdict"],
        "scope": severity["scope"],
        "massive_dims": found["massive_dims"]["dims"],
        "massive_rule": found["massive_dims"]["rule"],
        "massive_by_layer": found["massive_by_layer"],
        "dominant_dim": severity["dominant_dim"],
        "ratios": severity["ratios"],
        "share_of_squared_norm": severity["share_of_squared_norm"],
        "mean_alignment": severity["mean_alignment"],
        "per_layer": {layer: dims.get(dim) for layer, dims in found["per_layer"].items()},
        "layer_norms": found["layer_norms"],
        "clean_norms": found["clean_norms"],
    }


def measure_trait(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, site: Site, by_layer: Mapping[int, list[int]], trait: Trait
) -> dict[str, Any]:
    """Cosines, dose-response, controls, the decomposition and the off-target sets of one trait at the site.

    `by_layer` are every layer's massive dims.
    """
    selection = [row for row in trait.questions if row["split"] == "selection"]
    test = [row for row in trait.questions if row["split"] == "test"]
    P_LND, N_LND = (window_means(model, tokenizer, rows) for rows in (trait.positive, trait.negative))
    P, N = P_LND[site.layer], N_LND[site.layer]
    directions = directions_of(P, N, site.massive)
    curves = {name: directions[name] for name in CURVES}
    steering = {name: vector for name, vector in curves.items() if name != "random"}
    chosen = dose_response(model, tokenizer, site, trait.name, selection, steering, DOSES)
    best = {name: least_dose(cells) for name, cells in chosen.items()}
    bench = Bench(model, tokenizer, site, trait.name, test)
    first = leader(chosen, best)
    tested = dose_response(model, tokenizer, site, trait.name, test, curves, DOSES)
    return {
        "questions": {"selection": len(selection), "test": len(test)},
        "extraction_kinds": {
            name: dict(Counter(read_answer(text).kind for text in answers(model, tokenizer, rows)).most_common())
            for name, rows in (("positive", trait.positive), ("negative", trait.negative))
        },
        "unsteered": measured(trait.name, test, answers(model, tokenizer, test)),
        "cosines": {
            "by_layer": [cosines(P_LND[layer], N_LND[layer], by_layer[layer]) for layer in range(len(P_LND))],
            "mean_diff_probe": cosine_range(*classes(P, N, trait), mean_diff, probe),
            "mean_diff_top1_probe": cosine_range(
                *classes(P, N, trait), lambda p, n: unit(without(mean_diff(p, n), top_dim(p, n, site.massive))), probe
            ),
        },
        "best_dose_on_selection": best,
        "dose_response": tested,
        "leader_on_selection": first,
        "controls": controls(model, tokenizer, site, trait, test, directions, best[first]),
        "at_the_probes_raw_coefficient": raw_coefficient(bench, directions, best["probe"]),
        "decomposition": decomposition(bench, directions["mean_diff"], best["mean_diff"], (P, N)),
        "off_target": off_target(model, tokenizer, site, trait, directions, best),
    }


def least_dose(cells: Sequence[dict[str, Any]]) -> float:
    """The smallest dose that shows the trait on the selection questions within NEARLY of the best: no more push than is needed."""
    most = max(cell["shows"] for cell in cells)
    return float(min(cell["r"] for cell in cells if cell["shows"] >= most - NEARLY))


def leader(chosen: dict[str, list[dict[str, Any]]], best: dict[str, float]) -> str:
    """The method that shows the trait most on the selection questions at its dose; the last of equals."""
    shares = {name: next(cell["shows"] for cell in cells if cell["r"] == best[name]) for name, cells in chosen.items()}
    return max(reversed(shares), key=shares.__getitem__)


def classes(P: Tensor, N: Tensor, trait: Trait) -> tuple[tuple[Tensor, list[str]], tuple[Tensor, list[str]]]:
    """Both classes with their clusters."""
    return (P, [row["cluster"] for row in trait.positive]), (N, [row["cluster"] for row in trait.negative])


def top_dim(P: Tensor, N: Tensor, massive: list[int]) -> list[int]:
    """The dim of largest magnitude over both classes at this layer, massive or not."""
    return massive[:1] or [int(torch.cat([P, N]).abs().mean(0).argmax())]


def directions_of(P: Tensor, N: Tensor, massive: list[int]) -> dict[str, Tensor]:
    """Every direction of the report from both classes' rows `[N, D]`."""
    plain = mean_diff(P, N)
    out = {"mean_diff": plain, "mean_diff_top1": unit(without(plain, top_dim(P, N, massive))), "probe": probe(P, N)}
    out |= {"rownorm": rownorm(P, N), "random": random_direction(P.shape[1], 0)}
    out |= {f"random/{seed}": random_direction(P.shape[1], seed) for seed in SEEDS}
    return out | {f"shuffled/{seed}": shuffled(P, N, seed) for seed in SEEDS}


def cosines(P: Tensor, N: Tensor, massive: list[int]) -> dict[str, float]:
    """Cosines with the probe, the norm of the class difference and what of it is massive, at one layer."""
    vectors = directions_of(P, N, massive)
    difference = P.mean(0) - N.mean(0)
    return {
        **{name: round(cosine(vectors[name], vectors["probe"]), 3) for name in ("mean_diff", "mean_diff_top1", "rownorm")},
        "difference_norm": round(float(difference.norm()), 2),
        "clean_difference_norm": round(float(without(difference, massive).norm()), 2),
    }


def controls(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    site: Site,
    trait: Trait,
    test: list[Row],
    directions: dict[str, Tensor],
    dose: float,
) -> dict[str, float]:
    """Share that shows the trait under random and shuffled-label directions at this dose."""
    names = [name for name in directions if "/" in name]
    cells = dose_response(model, tokenizer, site, trait.name, test, {name: directions[name] for name in names}, (dose,))
    return {name: cells[name][0]["shows"] for name in names}


def off_target(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    site: Site,
    trait: Trait,
    directions: dict[str, Tensor],
    best: dict[str, float],
) -> dict[str, Any]:
    """Unrelated answers unchanged at the best dose and at half of it, and the paraphrased test questions at the best dose."""
    base = answers(model, tokenizer, trait.unrelated)
    out: dict[str, Any] = {"unrelated_kinds": dict(Counter(read_answer(text).kind for text in base).most_common())}
    for name in ("mean_diff", "probe"):
        pushes = [site.coefficient(directions[name], r) * directions[name] for r in (best[name], best[name] / 2)]
        full, half = push_all(model, tokenizer, site, trait.unrelated, pushes)
        (again,) = push_all(model, tokenizer, site, trait.paraphrases, pushes[:1])
        out[name] = {
            "unrelated_unchanged": unchanged(base, full),
            "unrelated_unchanged_at_half": unchanged(base, half),
            "paraphrases": measured(trait.name, trait.paraphrases, again)["shows"],
        }
    return out
