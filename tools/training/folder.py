"""Writing a model as a standard Hugging Face folder, and the hash of its weights that the card states."""

import hashlib
import json
from pathlib import Path

from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> str:
    """Write config, float16 safetensors, tokenizer and generation config; returns the sha256 of the weights file.

    The config says float32: loaders then compute in float32 with the rounded weights, as every figure of the card was measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=64,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.half().save_pretrained(folder)
    model.float()
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"dtype": "float32"}
    path.write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save_pretrained(folder, save_jinja_files=False)  # the template lies in tokenizer_config.json
    for file in folder.iterdir():
        file.chmod(0o644)
    return weights_hash(folder)


def weights_hash(folder: Path) -> str:
    """sha256 of model.safetensors."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
