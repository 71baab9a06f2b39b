"""Generation attends as the model does: a window in the config acts where, and only where, the model's class reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ml.tiny_models import ARCHITECTURES, LAYERS
from workers.lm.generation import generate_greedy
from workers.lm.likelihood import log_likelihood_alone, mean_log_likelihoods
from workers.lm.loading import load
from workers.lm.model import LanguageModel

PROMPTS = [[1, *range(60, 60 + 3 * n, 3)] for n in (30, 12, 5, 21)]
WINDOWED = {"sliding_window": 8}
SOME_WINDOWED = WINDOWED | {"use_sliding_window": True, "layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2)}


def alone(lm: LanguageModel, prompt: list[int], tokens: int) -> list[int]:
    """Greedy, one row, the whole row computed again at each step: no cache, no mask of ours."""
    ids = list(prompt)
    for _ in range(tokens):
        with torch.no_grad():
            token = int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token in lm.eos_ids:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("entries", [WINDOWED, SOME_WINDOWED], ids=["sliding_window", "layer_types"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_window_acts_where_the_models_class_reads_it(
    arch: str, entries: dict[str, Any], tiny_folder: Callable[..., Path]
) -> None:
    """llama, gpt_neox, olmo2 and others have no window, whatever their config says. With the window all the same, every text was another."""
    if arch == "gemma3_multimodal":
        entries = {}  # its text config holds a window already
    if arch == "mistral":
        entries = WINDOWED  # with layer_types the library makes another model of it
    lm = load(tiny_folder(arch, **entries))
    expected = [alone(lm, prompt, 12) for prompt in PROMPTS]
    assert generate_greedy(lm, PROMPTS, max_new_tokens=12, batch_rows=4) == expected
    assert len({tuple(answer) for answer in expected}) > 1


@pytest.mark.parametrize("arch", ["llama", "mistral", "gemma3", "gpt_neox"])
def test_a_shared_prompts_likelihoods_attend_as_the_model_does(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch, **WINDOWED)
    answers = [[70, 80, 90], [100, 110], [120]]
    apart = [log_likelihood_alone(lm, PROMPTS[0], answer) for answer in answers]
    assert mean_log_likelihoods(lm, [PROMPTS[0]] * len(answers), answers, batch_rows=2) == pytest.approx(apart, abs=1e-4)
