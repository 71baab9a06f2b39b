"""Checkpoints that the library dequantises on load are read as plain weights, and their facts name the method; other methods are refused."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.ml.tiny_models import VOCAB, tiny_tokenizer
from tests.proofs.twins import edit_json, fault_of
from workers.lm.errors import ModelFault
from workers.lm.inspection import inspect_folder
from workers.lm.loading import load
from workers.lm.proofs.addends import addends

BLOCK = 128


@pytest.fixture(scope="module")
def fp8_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with linear weights stored in 8-bit floats, a scale for each 128 x 128."""
    folder = tmp_path_factory.mktemp("fp8")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=256, initializer_range=0.1, tie_word_embeddings=False,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if "_proj" in name]:
        blocks = tensors[name].view(256 // BLOCK, BLOCK, 256 // BLOCK, BLOCK)
        scale = blocks.abs().amax((1, 3)) / 448
        tensors[name] = (blocks / scale[:, None, :, None]).view(256, 256).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    edit_json(
        folder / "config.json",
        quantization_config={"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK], "activation_scheme": "dynamic"},
    )
    return folder


def test_eight_bit_weights_are_loaded_as_the_values_they_encode(fp8_folder: Path) -> None:
    facts = inspect_folder(fp8_folder)
    assert (facts.dequantised_from, facts.reading["dequantised_from"], facts.dtype) == ("fp8", "fp8", "bfloat16")
    lm = load(fp8_folder, facts=facts)
    tensors = load_file(fp8_folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    scale = tensors[f"{name}_scale_inv"].repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    assert lm.model.get_parameter(name).dtype == torch.float32
    torch.testing.assert_close(lm.model.get_parameter(name), tensors[name].float() * scale, rtol=1e-2, atol=1e-4)
    assert addends(lm).outcome == "passed"
    assert not hasattr(lm.model.config, "quantization_config")


@pytest.mark.parametrize("nonsense", [{"hidden_act": "no_such_function"}, {"hidden_size": -4}, {"vocab_size": -1}])
def test_a_config_that_builds_no_model_is_refused_as_for_plain_weights(
    fp8_folder: Path, tmp_path: Path, nonsense: dict[str, object]
) -> None:
    """Such a config ended the inspection with an internal error."""
    folder = shutil.copytree(fp8_folder, tmp_path / "m")
    edit_json(folder / "config.json", **nonsense)
    assert fault_of(folder).code == "config_invalid"


def test_other_methods_are_refused_and_plain_weights_name_none(tmp_path: Path) -> None:
    LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    ).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert inspect_folder(tmp_path).dequantised_from is None
    edit_json(tmp_path / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    fault = fault_of(tmp_path)
    assert fault.code == "quantized_weights"
    assert "gptq" in fault.sentence
    edit_json(tmp_path / "config.json", quantization_config={"quant_method": "fp8"})
    with pytest.raises(ModelFault, match=r"config_weights_mismatch: .*fp8.*float32"):
        inspect_folder(tmp_path)
