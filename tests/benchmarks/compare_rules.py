"""How vectors and the unit of dose change when each rule's massive dims are zeroed in them, on the pretrained test models.

    python -m tests.benchmarks.compare_rules [MODEL FOLDER ...]

Lists from 20 of the shipped prompts x 32 new tokens; rows of the shipped refusal trait at prompt[-1], 60 per class, computed in
float32. Prints one Markdown table per model. `cos kept` is the cosine between a vector and itself cleaned (the share of squared norm removed is
1 - its square), `cos with probe` that between the cleaned mean_diff and the equally cleaned probe.
"""

# ruff: noqa: T201 - it prints
import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from shipped import TRAITS
from terms.positions import parse_position
from tests.real.models import GEMMA3, SMOLLM2
from workers.handlers.calibration import shipped_prompts
from workers.lm.capture import prefill, reading
from workers.lm.gather import Example, gather_rows
from workers.lm.generation import generate_greedy
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.science.linalg import Float, norms, without
from workers.science.massive import massive_by_layer
from workers.science.measuring import Row, measure
from workers.science.statistics import Statistics
from workers.science.tokenvalues import TokenValues

RULES = ("peeling", "ratio10-3layers", "top5-3layers", "sun", "all")
PROMPTS, NEW_TOKENS, EXAMPLES = 20, 32, 60


def calibrated(lm: LanguageModel) -> tuple[Statistics, list[Row]]:
    """The statistics of the answers to the first shipped prompts, and the rows that were read."""
    prompts = [encode_prompt(lm, text) for text in shipped_prompts()[:PROMPTS]]
    answers = generate_greedy(lm, prompts, max_new_tokens=NEW_TOKENS, batch_rows=PROMPTS)
    rows = [Row(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer]
    with closing(TokenValues(lm.layout.n_layers)) as tokens:
        return measure(lm, rows, tokens, layers=range(lm.layout.n_layers), rule="all"), rows


def response_states(lm: LanguageModel, rows: list[Row], layers: list[int]) -> dict[int, Float]:
    """[tokens, D] of every response token at each layer."""
    found: dict[int, list[Float]] = {layer: [] for layer in layers}
    for row in rows:

        def keep(layer: int, _component: str, h_BTD: Tensor, start: int = len(row.prompt)) -> None:
            found[layer].append(h_BTD[0, start:].double().numpy())

        with reading(lm, {"residual": keep}, layers):
            prefill(lm, [*row.prompt, *row.answer])
    return {layer: np.concatenate(parts) for layer, parts in found.items()}


def vectors(lm: LanguageModel, layers: list[int]) -> dict[int, dict[str, Float]]:
    """mean_diff and the probe of the refusal trait at each layer, unit length."""
    examples, labels = [], []
    for label in ("positive", "negative"):
        lines = (TRAITS / "refusal" / f"{label}.jsonl").read_text().splitlines()[:EXAMPLES]
        examples += [Example(encode_prompt(lm, json.loads(line)["prompt"]), []) for line in lines]
        labels += [label == "positive"] * len(lines)
    positive = np.array(labels)
    rows = gather_rows(lm, examples, positions=[parse_position("prompt[-1]")], components=["residual"], layers=layers)
    found = {}
    for layer in layers:
        h_ND = rows.values["prompt[-1]", "residual", layer].double().numpy()
        unit_ND = h_ND / np.linalg.norm(h_ND, axis=1, keepdims=True)
        probe = LogisticRegression(C=1, fit_intercept=True, tol=1e-10, max_iter=10_000).fit(unit_ND, positive).coef_[0]
        found[layer] = {
            name: one / np.linalg.norm(one)
            for name, one in (("mean_diff", h_ND[positive].mean(0) - h_ND[~positive].mean(0)), ("probe", probe))
        }
    return found


def cosine(a: Float, b: Float) -> float:
    """0 where nothing is left of one of them."""
    sizes = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / sizes if sizes else 0.0


def compare(folder: Path) -> None:
    lm = load(folder)
    layers = sorted({lm.layout.n_layers * part // 4 for part in (1, 2, 3)})
    stats, rows = calibrated(lm)
    states, directions = response_states(lm, rows, layers), vectors(lm, layers)
    print(f"\n{folder.name}: {lm.layout.n_layers} layers, {lm.layout.hidden_size} dims\n")
    print(
        "| layer | rule | dims | unit of dose | mean_diff: cos kept | probe: cos kept | cos with probe |\n|---|---|---|---|---|---|---|"
    )
    for layer in layers:
        mean_diff, probe = directions[layer]["mean_diff"], directions[layer]["probe"]
        for rule in ("none", *RULES):
            dims = [] if rule == "none" else massive_by_layer(stats, rule)[layer]
            unit = float(np.median(norms(without(states[layer], dims))))
            cleaned, clean_probe = without(np.stack([mean_diff, probe]), dims)
            listed = f"{len(dims)}: {', '.join(map(str, dims))}" if len(dims) <= 6 else str(len(dims))
            figures = (cosine(mean_diff, cleaned), cosine(probe, clean_probe), cosine(cleaned, clean_probe))
            print(f"| {layer} | {rule} | {listed} | {unit:.4g} | {' | '.join(f'{one:.3f}' for one in figures)} |", flush=True)


if __name__ == "__main__":
    for chosen in [Path(one) for one in sys.argv[1:]] or [SMOLLM2.folder, GEMMA3.folder]:
        compare(chosen)
