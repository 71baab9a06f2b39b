"""A loaded model shares no memory with its files."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from tests.ml.tiny_models import tiny_model_folder
from workers.lm.checkpoint import open_model, read_config
from workers.lm.loading import _settle, load


def test_a_loaded_model_does_not_change_with_its_file(tmp_path: Path) -> None:
    """The library maps the file: a file rewritten in place would change the model, and a shortened one would kill the process."""
    folder = tiny_model_folder(tmp_path, "llama")
    lm = load(folder)
    before = [parameter.clone() for parameter in lm.model.parameters()]
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"\0" * 100_000)
        file.truncate(100_000)
    assert all(torch.equal(a, b) for a, b in zip(before, lm.model.parameters(), strict=True))


def test_parameters_and_buffers_lie_outside_the_mapped_file(tmp_path: Path) -> None:
    """A router's correction bias is a buffer: it comes from the file, and decides the experts."""
    config = AutoConfig.for_model(
        "deepseek_v3", vocab_size=64, hidden_size=64, intermediate_size=64, moe_intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
        first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = _settle(open_model(tmp_path, read_config(tmp_path), dtype=torch.float32), torch.device("cpu"))
    file = tmp_path / "model.safetensors"
    mapped = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(file))]
    assert any(name in load_file(file) for name, _ in model.named_buffers()), "no buffer comes from the file"
    for tensor in (*model.parameters(), *model.buffers()):
        assert not any(int(start, 16) <= tensor.data_ptr() < int(end, 16) for start, end in mapped)
