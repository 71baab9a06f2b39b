"""Makes a Hugging Face folder of a GGUF file: `python -m tests.real.convert FILE.gguf FOLDER`. In a process of its own: it takes gigabytes.

transformers dequantises the weights (float32, exactly what the blocks say). Two things it gets wrong are put right from the file itself: the
pre-tokenizer that `tokenizer.ggml.pre` names (it writes plain ByteLevel, and then digits get other ids), and the quantisation that the config
still declares.
"""

import sys
from pathlib import Path
from typing import Any

import gguf
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

PRE_TOKENIZERS = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    ),
    "default": None,
}
"""By the names that llama.cpp gives them; None where the conversion's own is right."""


def convert(source: Path, target: Path) -> None:
    """Writes config, generation config, weights in float32 and tokenizer into `target`. Raises KeyError for a pre-tokenizer not listed here."""
    fields = gguf.GGUFReader(source).fields
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    pre = PRE_TOKENIZERS[str(fields["tokenizer.ggml.pre"].contents()) if "tokenizer.ggml.pre" in fields else "default"]
    if pre is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = pre()
    model: Any = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype="float32")
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
