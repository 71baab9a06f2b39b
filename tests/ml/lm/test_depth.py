"""Reading a layer runs no block above it, and the LM head runs only at positions with a needed logit."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import torch

from binnacle.words.massive import DEFAULT_RULE
from workers.extracting import soft_vector
from workers.lm.errors import ModelFault
from workers.lm.likelihood import log_likelihood_alone
from workers.lm.model import LanguageModel
from workers.science.measuring import Row, measure
from workers.science.tokenvalues import TokenValues
from workers.steering.units import _median_norms

ROWS = [Row([1, 20, 30, 40], [50, 60]), Row([1, 70], [80, 90, 100])]


@contextmanager
def blocks_run(lm: LanguageModel) -> Iterator[set[int]]:
    """Yields the set of layers with a block that has run so far."""
    seen: set[int] = set()
    hooks = [
        sites["residual"].register_forward_pre_hook(lambda *_, layer=layer: seen.add(layer))
        for layer, sites in enumerate(lm.layout.sites)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("arch", ["llama", "gpt_neox", "gemma3"])
@pytest.mark.parametrize("layers", [[0], [0, 1], [2]])
def test_calibrating_layers_computes_none_above_them(arch: str, layers: list[int], tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch)
    with blocks_run(lm) as seen, closing(TokenValues(len(layers))) as tokens:
        measure(lm, ROWS, tokens, layers=layers, rule=DEFAULT_RULE)
    assert seen == set(range(max(layers) + 1))


@pytest.mark.parametrize("component", ["residual", "attn_contribution", "k_proj"])
def test_the_unit_of_a_dose_computes_no_block_above_its_layer(component: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")
    done: list[int] = []
    with blocks_run(lm) as seen:
        found = _median_norms(lm, component, [1], [row.prompt for row in ROWS], done.append)
    assert seen == {0, 1}
    assert found[1] > 0
    assert done == [1, 2]


def test_training_a_vector_takes_logits_only_where_an_answer_is_predicted(tiny_lm: Callable[..., LanguageModel]) -> None:
    """A vocabulary of 262,144 times every token of the prompts would be gigabytes; the values stay those of the naive rows."""
    lm = tiny_lm("llama")
    rows = [([1, *range(20, 60)], [70, 71]), ([1, *range(20, 62)], [80])]
    seen: list[int] = []
    hook = lm.model.get_output_embeddings().register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].shape[1]))
    with torch.no_grad():
        found = soft_vector._mean_log_likelihood(lm, rows, 1, torch.zeros(lm.layout.hidden_size))
    hook.remove()
    # rows are padded to 44 tokens; the first needed logit is at 40, the last token of the shorter prompt
    assert seen == [44 - 40]
    expected = [log_likelihood_alone(lm, prompt, answer) for prompt, answer in rows]
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_a_training_that_overflows_names_its_layer_and_step(tiny_lm: Callable[..., LanguageModel]) -> None:
    pairs = [soft_vector.Pair([1, 20, 30], [70, 71], [80])]
    steps: list[int] = []
    with pytest.raises(ModelFault, match=r"lm_loss at layer 1: after 1 of 9 steps .* runs in float32\.") as fault:
        soft_vector.train(tiny_lm("llama"), pairs, layer=1, norm=1e42, steps=9, seed=0, on_step=lambda: steps.append(1))
    assert fault.value.code == "loss_not_finite"
    assert steps == []
