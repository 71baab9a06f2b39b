"""Extraction's speed against steering-vectors and repeng, called as their READMEs say, on the same random weights; and the probe's speed.

    pip install --no-deps --target /some/folder steering-vectors==0.12.2 repeng==0.4.0
    python -m tests.benchmarks.bench_extraction [--peers /some/folder] [--rounds 5] [--pairs 64 200]

8 layers, d=256, vocabulary 32k. One process, the sides of a ratio alternate, medians of CPU seconds. Same vectors: the last token of each
text, every layer, mean difference, to 1e-6 (tests/ml/science/test_peers.py says where the two differ); repeng's pca_diff has no mean difference,
so there the forward passes and its PCA are timed and no vector compared.
"""

# ruff: noqa: T201 - it prints
import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from terms.methods import parse_method
from terms.positions import parse_position
from tests.benchmarks.bench_steering import SIZE, VOCAB
from tests.ml.tiny_models import tiny_model_folder
from workers.lm.gather import Example, gather_rows
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.science.directions.fitting import Layer, fit_all
from workers.science.examples import Examples

POSITION = parse_position("all[-1]")
EQUAL = 3e-6
"""The largest distance of unit vectors that are the same: both are differences of means, which float32 rounds to about 1e-7 of their size."""


def texts(lm: LanguageModel, pairs: int, seed: int = 0) -> list[tuple[str, str]]:
    """Random token texts of 12 to 40 tokens that the tokenizer reads back."""
    draw = np.random.default_rng(seed)

    def text() -> str:
        return str(lm.tokenizer.decode(draw.integers(10, 200, int(draw.integers(12, 40))).tolist()))

    return [(text(), text()) for _ in range(pairs)]


def ids_of(lm: LanguageModel, text: str) -> list[int]:
    return [int(i) for i in lm.tokenizer(text)["input_ids"]]


def ours(
    lm: LanguageModel, pairs: Sequence[tuple[str, str]], methods: Sequence[str] = ("mean_diff",), positions: int = 1
) -> dict[int, Any]:
    """All layers' vectors, as an extraction job makes them but for its resamples."""
    examples = [Example(ids_of(lm, pair[side]), []) for side in (0, 1) for pair in pairs]
    asked = [POSITION, *(parse_position(f"all[-{i}]") for i in range(2, positions + 1))]
    layers = range(lm.layout.n_layers)
    rows = gather_rows(lm, examples, positions=asked, components=["residual"], layers=layers)
    names = [str(i) for i in range(len(pairs))]
    described = Examples.build(names, names)
    parsed = [parse_method(key) for key in methods]
    return {
        layer: fit_all(Layer(rows.values[str(position), "residual", layer].numpy(), described), parsed, resamples=0)
        for position in asked
        for layer in layers
    }


def measured(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each side, alternating."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()  # warm
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.process_time()
            side()
            times[name].append(time.process_time() - started)
    return {name: statistics.median(found) for name, found in times.items()}


def against_peers(lm: LanguageModel, pairs: int, rounds: int) -> None:
    np.float_ = np.float64  # type: ignore[attr-defined]  # a name that numpy 2 dropped and repeng 0.4.0 uses
    from repeng import ControlModel, ControlVector, DatasetEntry
    from steering_vectors import train_steering_vector

    data = texts(lm, pairs)
    entries = [DatasetEntry(positive=one, negative=other) for one, other in data]

    def peer() -> Any:
        return train_steering_vector(lm.model, lm.tokenizer, data, batch_size=32, show_progress=False)

    def repeng() -> Any:
        wrapped = ControlModel(lm.model, list(range(lm.layout.n_layers)))
        try:
            return ControlVector.train(wrapped, lm.tokenizer, entries, batch_size=32)
        finally:
            wrapped.unwrap()

    theirs, own = peer(), ours(lm, data)
    for layer in range(lm.layout.n_layers):
        vector = theirs.layer_activations[layer].double().numpy()
        [direction] = own[layer]
        gap = np.linalg.norm(vector / np.linalg.norm(vector) - direction.vector_D)
        assert gap < EQUAL, f"layer {layer}: {gap}"
    found = measured({"ours": lambda: ours(lm, data), "steering-vectors": peer, "repeng": repeng}, rounds)
    for name in ("steering-vectors", "repeng"):
        print(f"{pairs} pairs: {name} {found[name]:.2f} s, ours {found['ours']:.2f} s: {found[name] / found['ours']:.1f} x")


def extras(lm: LanguageModel, pairs: int, rounds: int) -> None:
    data = texts(lm, pairs)
    found = measured(
        {
            "mean_diff": lambda: ours(lm, data),
            "and the probe": lambda: ours(lm, data, ("mean_diff", "probe")),
            "and mean_diff_rownorm": lambda: ours(lm, data, ("mean_diff", "mean_diff_rownorm")),
            "and a second position": lambda: ours(lm, data, positions=2),
        },
        rounds,
    )
    for name, seconds in found.items():
        print(f"{pairs} pairs, {name}: {seconds:.2f} s, {seconds / found['mean_diff'] - 1:+.0%}")


def probe(rounds: int) -> None:
    """34 layers x 2560 dims x 200 rows."""
    draw = np.random.default_rng(0)
    rows = [draw.standard_normal((200, 2560)).astype(np.float32) + (np.arange(200) < 100)[:, None] * 0.05 for _ in range(34)]
    names = [str(i) for i in range(100)]
    described = Examples.build(names, names)
    layers = [Layer(one.astype(np.float32), described) for one in rows]
    found = measured({"probe": lambda: [fit_all(one, [parse_method("probe")], resamples=0) for one in layers]}, rounds)
    print(f"probe, 34 layers x 2560 x 200, with its stored facts: {found['probe']:.2f} s (goal < 0.6)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, nargs="+", default=[64, 200])
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    sys.path.insert(0, asked.peers)
    with tempfile.TemporaryDirectory() as folder:
        lm = load(tiny_model_folder(Path(folder), "llama", **{**SIZE, "vocab_size": VOCAB}))
        for pairs in asked.pairs:
            if asked.peers:
                against_peers(lm, pairs, asked.rounds)
            extras(lm, pairs, asked.rounds)
    probe(asked.rounds)


if __name__ == "__main__":
    main()
