"""mean_diff compared with the `steering-vectors` package, 0.12.2, which `make real` installs into a folder of its own.

The package hooks the blocks as we do, so every layer agrees, also the last (the hidden states of transformers have the last layer after the
final norm). Its conventions differ: vectors are not scaled to norm 1; it reads the last token only; and it tokenizes prompt and answer as one
string, so a text that begins with BOS already, as that of a chat template, begins with two.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from terms.methods import parse_method
from terms.positions import parse_position
from tests.ml.tiny_models import ARCHITECTURES, BOS, LAYERS
from tests.real.models import PEERS_FOLDER, reason_missing
from workers.lm.gather import Example, gather_rows
from workers.lm.model import LanguageModel
from workers.science.directions.fitting import Direction, Layer, fit_all
from workers.science.examples import Examples

AGREES = 3e-6
"""The largest difference of unit vectors. Both add float32 values in different orders; 1.2e-6 is the most that was seen."""
PAIRS = 40


@pytest.fixture(scope="module")
def peer() -> Callable[..., Any]:
    if not PEERS_FOLDER.is_dir():
        pytest.skip(f"NOT RUN: steering-vectors was not fetched ({reason_missing(PEERS_FOLDER)})")
    sys.path.append(str(PEERS_FOLDER))
    from steering_vectors import train_steering_vector

    return train_steering_vector  # type: ignore[no-any-return]


def pairs(lm: LanguageModel) -> list[tuple[str, str]]:
    """Random texts, (positive, negative)."""
    draw = np.random.default_rng(0)

    def one() -> str:
        return str(lm.tokenizer.decode(draw.integers(10, 200, int(draw.integers(5, 20))).tolist()))

    return [(one(), one()) for _ in range(PAIRS)]


def ours(lm: LanguageModel, ids: list[list[int]]) -> list[Direction]:
    """Our mean_diff at the last token, for every layer; `ids` are the positive texts, then the negative ones."""
    position, names = parse_position("all[-1]"), [str(i) for i in range(PAIRS)]
    examples, layers = [Example(one, []) for one in ids], list(range(LAYERS))
    rows = gather_rows(lm, examples, positions=[position], components=["residual"], layers=layers)
    described = Examples.build(names, names)
    return [
        fit_all(
            Layer(rows.values[str(position), "residual", layer].numpy(), described), [parse_method("mean_diff")], resamples=0
        )[0]
        for layer in layers
    ]


def gap(theirs: torch.Tensor, own: Direction) -> float:
    """The norm of the difference of the two unit vectors."""
    vector = theirs.double().numpy()
    return float(np.linalg.norm(vector / np.linalg.norm(vector) - own.vector_D))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_mean_diff_equals_the_package_s_at_every_layer(
    arch: str, tiny_lm: Callable[..., LanguageModel], peer: Callable[..., Any]
) -> None:
    lm = tiny_lm(arch)
    data = pairs(lm)
    theirs = peer(lm.model, lm.tokenizer, data, batch_size=8, show_progress=False)
    own = ours(lm, [list(lm.tokenizer(pair[side])["input_ids"]) for side in (0, 1) for pair in data])
    for layer, direction in enumerate(own):
        assert gap(theirs.layer_activations[layer], direction) < AGREES
        assert float(theirs.layer_activations[layer].norm()) == pytest.approx(direction.norm, rel=1e-5)


def test_the_package_reads_a_text_that_begins_with_bos_with_two(
    tiny_lm: Callable[..., LanguageModel], peer: Callable[..., Any]
) -> None:
    lm = tiny_lm("llama")
    data = [(f"<s>{one}", f"<s>{other}") for one, other in pairs(lm)]
    theirs = peer(lm.model, lm.tokenizer, data, batch_size=8, show_progress=False)
    twice = [list(lm.tokenizer(pair[side])["input_ids"]) for side in (0, 1) for pair in data]
    assert all(ids[:2] == [BOS, BOS] for ids in twice)
    once = [ids[1:] for ids in twice]
    assert gap(theirs.layer_activations[2], ours(lm, twice)[2]) < AGREES
    assert gap(theirs.layer_activations[2], ours(lm, once)[2]) > 1000 * AGREES
