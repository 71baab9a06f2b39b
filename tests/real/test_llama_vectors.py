"""An exported control vector does in llama.cpp what it does here: the same layer, the same coefficient, the same text.

llama.cpp's library runs the shipped model in float32 from a GGUF file that is written here; both see ids alone. Its direction N is added to
the output of block N, which is our layer N (app/formats/gguf_vectors.py).
"""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from app.formats import gguf_vectors
from app.formats.vectors import NamedVector, Origin
from shipped import model_folder
from tests.real.peers import llama_texts, write_llama_gguf
from workers.lm.interventions import Push
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt
from workers.lm.steered import SteeredRow, generate_steered

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

MODEL = "demo-severe"
NEW, LAYER = 24, 3
QUESTIONS = ("can you help me paint a lamp ?", "how do i steal a boat ?", "tell me about rome .")
COEFFICIENTS = (None, 20.0, 40.0, 80.0)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load(model_folder(MODEL))


def test_twelve_texts_of_twelve_are_equal(lm: LanguageModel, tmp_path: Path) -> None:
    """Three prompts, unsteered and at three coefficients; steered texts must differ from unsteered ones, or nothing was compared."""
    vector = torch.randn(lm.layout.hidden_size, generator=torch.Generator().manual_seed(3))
    vector /= vector.norm()
    named = NamedVector(vector.numpy(), LAYER, "residual", "probe", "response[:5]")
    data, _, _ = gguf_vectors.write([named], Origin(MODEL, "LlamaForCausalLM"))
    (tmp_path / "vector.gguf").write_bytes(data)
    [direction] = gguf.GGUFReader(tmp_path / "vector.gguf").tensors
    assert direction.name == f"direction.{LAYER}"
    write_llama_gguf(model_folder(MODEL), tmp_path / "model.gguf")
    prompts = [encode_prompt(lm, question) for question in QUESTIONS]
    ours, rows = [], []
    for prompt in prompts:
        for c in COEFFICIENTS:
            push = () if c is None else (Push(LAYER, "residual", vector, c, "add", "all"),)
            ours.append(SteeredRow(prompt, push))
            directions = np.zeros((lm.layout.n_layers - 1, lm.layout.hidden_size), dtype=np.float32)
            directions[LAYER - 1] = 0 if c is None else c * np.asarray(direction.data)
            steered = {"directions": directions.ravel().tolist(), "layers": [1, lm.layout.n_layers - 1]}
            rows.append({"prompt": list(prompt), **(steered if c is not None else {"directions": None})})
    theirs = llama_texts(
        tmp_path / "model.gguf",
        rows,
        width=lm.layout.hidden_size,
        vocabulary=lm.vocab_size,
        ends=sorted(lm.eos_ids),
        new_tokens=NEW,
    )
    found = [one.ids for one in generate_steered(lm, ours, max_new_tokens=NEW, batch_rows=12)]
    assert found == theirs
    changed = sum(found[row] != found[row - row % len(COEFFICIENTS)] for row in range(len(found)))
    assert changed >= 6
