"""The hooks read the residual stream and the contributions that the model computes, in every architecture; other models are refused."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, BertConfig, DogeConfig, Gemma3nTextConfig

from tests.ml.tiny_models import ARCHITECTURES, BOS, HIDDEN, LAYERS, VOCAB, Planted
from workers.lm.architecture import find_layout
from workers.lm.capture import assert_no_hooks, prefill, reading
from workers.lm.errors import ModelFault
from workers.lm.loading import load
from workers.lm.model import LanguageModel

IDS = [1, *range(60, 100, 2)]  # longer than the sliding windows


def record(lm: LanguageModel, components: tuple[str, ...], ids: list[int] = IDS) -> dict[tuple[int, str], Tensor]:
    """Every named component at every layer, [T, D]."""
    seen: dict[tuple[int, str], Tensor] = {}

    def keep(layer: int, component: str, values: Tensor) -> None:
        assert (layer, component) not in seen
        seen[layer, component] = values[0].clone()

    with reading(lm, dict.fromkeys(components, keep)):
        prefill(lm, ids)
    return seen


def block_inputs(lm: LanguageModel, ids: list[int] = IDS) -> list[Tensor]:
    """The input of each decoder block, [T, D], read by hooks of its own."""
    inputs: list[Tensor] = []
    blocks = [sites["residual"] for sites in lm.layout.sites]
    handles = [
        b.register_forward_pre_hook(lambda _m, args, kw: inputs.append((args or (kw["hidden_states"],))[0][0]), with_kwargs=True)
        for b in blocks
    ]
    try:
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([ids]))
    finally:
        for handle in handles:
            handle.remove()
    return inputs


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_residual_is_the_models_own_hidden_state_before_the_final_norm(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch)
    seen = record(lm, ("residual",))
    inputs = block_inputs(lm)
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([IDS])).logits[0]
        normed = lm.layout.final_norm(seen[LAYERS - 1, "residual"])
        head = lm.model.get_output_embeddings()(normed)
        softcap = getattr(lm.text_config, "final_logit_softcapping", None)
        head = torch.tanh(head / softcap) * softcap if softcap else head
    assert len(inputs) == len(seen) == LAYERS
    for layer in range(LAYERS - 1):
        assert torch.equal(seen[layer, "residual"], inputs[layer + 1])
    torch.testing.assert_close(head, logits, rtol=1e-5, atol=1e-4)
    assert not torch.allclose(seen[LAYERS - 1, "residual"], normed)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_residual_equals_output_hidden_states(arch: str, tiny_folder: Callable[..., Path]) -> None:
    """Those of layer i+1; the last one is after the final norm (docs/science.md, 3.7). The model is not shared, because the library's option
    leaves hooks on it."""
    lm = load(tiny_folder(arch))
    seen = record(lm, ("residual",))
    with torch.no_grad():
        states = lm.model(input_ids=torch.tensor([IDS]), output_hidden_states=True).hidden_states
        last = lm.layout.final_norm(seen[LAYERS - 1, "residual"])
    assert len(states) == LAYERS + 1
    for layer in range(LAYERS - 1):
        assert torch.equal(seen[layer, "residual"], states[layer + 1][0])
    torch.testing.assert_close(last, states[LAYERS][0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_contributions_add_up_to_the_residuals_change(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch)
    seen = record(lm, ("residual", "attn_contribution", "mlp_contribution"))
    for layer, entering in enumerate(block_inputs(lm)):
        added = seen[layer, "attn_contribution"] + seen[layer, "mlp_contribution"]
        change = seen[layer, "residual"] - entering
        assert added.shape == (len(IDS), HIDDEN)
        torch.testing.assert_close(added, change, rtol=1e-5, atol=1e-5 * float(seen[layer, "residual"].abs().max()))
        assert float(added.abs().mean()) > 0.01


@pytest.mark.parametrize("arch", ["gemma2", "gemma3", "gemma3_multimodal", "olmo2"])
def test_post_norm_contribution_is_the_norm_of_the_raw_output(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm(arch)
    seen = record(lm, ("attn_out", "mlp_out", "attn_contribution", "mlp_contribution"))
    for layer, sites in enumerate(lm.layout.sites):
        for part in ("attn", "mlp"):
            raw, contribution = seen[layer, f"{part}_out"], seen[layer, f"{part}_contribution"]
            assert torch.equal(sites[f"{part}_contribution"](raw), contribution)
            assert not torch.allclose(raw, contribution)


@pytest.mark.parametrize("arch", ["llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox"])
def test_without_a_post_norm_the_contribution_is_the_raw_output(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    seen = record(tiny_lm(arch), ("attn_out", "mlp_out", "attn_contribution", "mlp_contribution"))
    for layer in range(LAYERS):
        for part in ("attn", "mlp"):
            assert torch.equal(seen[layer, f"{part}_out"], seen[layer, f"{part}_contribution"])


def test_key_and_value_projections_have_their_own_width(tiny_lm: Callable[..., LanguageModel]) -> None:
    seen = record(tiny_lm("llama"), ("k_proj", "v_proj"))
    assert {tuple(values.shape) for values in seen.values()} == {(len(IDS), 2 * 16)}  # 2 heads of 16


@pytest.mark.parametrize("arch", ["gpt2", "gpt_neox", "phi3"])
def test_fused_projections_are_refused_by_name(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    with pytest.raises(ModelFault, match=r"unknown_component: .*'k_proj'.*It has: residual, attn_contribution"):
        tiny_lm(arch).layout.site(0, "k_proj")


def test_the_layout_of_a_multimodal_model_is_its_text_model_s(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gemma3_multimodal")
    assert lm.facts.architecture == "Gemma3ForConditionalGeneration"
    assert (lm.layout.n_layers, lm.layout.hidden_size, lm.vocab_size) == (LAYERS, HIDDEN, VOCAB)
    assert lm.layout.layer_class == "Gemma3DecoderLayer"


@pytest.mark.parametrize("layer", [-1, LAYERS])
def test_a_layer_out_of_range_is_refused_with_the_range(layer: int, tiny_lm: Callable[..., LanguageModel]) -> None:
    with pytest.raises(ModelFault, match=f"layer_out_of_range: Layer {layer} .* 0 to {LAYERS - 1}"):
        tiny_lm("llama").layout.site(layer, "residual")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50), "bert"),
        (
            Gemma3nTextConfig(
                hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16, intermediate_size=32,
                vocab_size=50, vocab_size_per_layer_input=50, hidden_size_per_layer_input=8, laurel_rank=4, num_kv_shared_layers=0,
                layer_types=["full_attention"] * 2, activation_sparsity_pattern=[0.0, 0.0],
            ),
            r"several residual streams.*leaves.*altup",
        ),
        (DogeConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=50), "leaves 0"),
    ],
    ids=["encoder", "several_streams", "scaled_by_channel"],
)  # fmt: skip
def test_a_model_with_modules_that_do_not_add_up_to_its_stream_is_refused_with_the_rest(config: object, found: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelFault) as fault:
        find_layout(model)
    assert fault.value.code == "unknown_architecture"
    assert re.search(found, fault.value.sentence)


def test_hooks_are_removed_after_an_exception_and_left_hooks_are_detected(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")

    def fail(_layer: int, _component: str, _values: Tensor) -> None:
        raise ArithmeticError("in the reader")

    with pytest.raises(ArithmeticError), reading(lm, {"residual": fail, "mlp_out": fail}):
        prefill(lm, IDS)
    assert_no_hooks(lm.model)
    with pytest.raises(ModelFault, match="unknown_component"), reading(lm, {"residual": fail, "nonsense": fail}):
        prefill(lm, IDS)
    assert_no_hooks(lm.model)
    with reading(lm, {"residual": fail}, [2]), pytest.raises(ModelFault, match=r"hooks_left: .*layers\.2"):
        assert_no_hooks(lm.model)


def test_reading_changes_nothing_and_reads_only_the_given_layers(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("gemma2")
    seen: list[tuple[int, str]] = []
    ids = torch.tensor([IDS])
    with torch.no_grad():
        plain = lm.model(input_ids=ids).logits
        with reading(lm, {"residual": lambda layer, name, _: seen.append((layer, name))}, [3, 1]):
            read = lm.model(input_ids=ids).logits
    assert torch.equal(plain, read)
    assert seen == [(1, "residual"), (3, "residual")]


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gpt2", "olmo2", "gpt_neox"])
@pytest.mark.parametrize(
    ("where", "holds"), [("every_token", [1, 1, 1, 1]), ("first_token", [1, 0, 0, 0]), ("delimiters", [0, 0, 1, 0])]
)
def test_a_planted_dimension_is_where_it_was_planted_at_every_layer(
    arch: str, where: str, holds: list[int], tiny_lm: Callable[..., LanguageModel]
) -> None:
    """The ground truth that calibration is tested with, read by the hooks under test."""
    lm = tiny_lm(arch, planted=(Planted(7, 500.0, where),))
    ids = [BOS, *lm.tokenizer("a, b", add_special_tokens=False)["input_ids"]][:3]
    seen = record(lm, ("residual",), [*ids, lm.tokenizer("b", add_special_tokens=False)["input_ids"][0]])
    for layer in range(LAYERS):
        torch.testing.assert_close(seen[layer, "residual"][:, 7], 500.0 * torch.tensor(holds, dtype=torch.float32))
