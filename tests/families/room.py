"""`python -m tests.families.room FAMILY ROWS TOKENS`: prints the bytes that a generation takes beside the weights, by the kernel's counter,
and the bytes that were foretold.

It needs a process of its own: memory that earlier work freed would hide what is taken. The vocabulary has 262,144 entries.
"""

import os
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.families.models import ENTRIES
from tests.ml.peak_memory import peak_growth_bytes
from tests.ml.tiny_models import tiny_tokenizer
from workers.lm.architecture import find_layout
from workers.lm.checkpoint import quiet
from workers.lm.facts import ModelFacts
from workers.lm.generation import generate_greedy
from workers.lm.memory import bytes_needed
from workers.lm.model import LanguageModel
from workers.lm.shrinking import shrunk
from workers.lm.structure.twin import layer_types, layers_needed

VOCABULARY, NEW = 262_144, 3


def wide_family(name: str) -> LanguageModel:
    """A narrow model of the family, in float32, with a large vocabulary."""
    full = AutoConfig.for_model(name, **ENTRIES.get(name, {})).get_text_config()
    with quiet():
        config = shrunk(full, max(2, layers_needed(layer_types(full))))
        for entry in ("vocab_size", "vocab_size_per_layer_input"):
            if hasattr(config, entry):
                setattr(config, entry, VOCABULARY)
        config.hidden_size = min(config.hidden_size, 512)
        model = AutoModelForCausalLM.from_config(config).float().eval().requires_grad_(False)
    layout = find_layout(model)
    facts = ModelFacts(
        type(model).__name__, layout.layer_class, layout.n_layers, layout.hidden_size, 4096, VOCABULARY, "float32", 0, 0, False, "", "", ()
    )  # fmt: skip
    return LanguageModel(model, tiny_tokenizer(), layout, torch.device("cpu"), torch.float32, facts, frozenset(), 0, Path())


def measured(lm: LanguageModel, rows: int, tokens: int) -> int:
    """Bytes by which the process grew while it generated."""
    prompts = [[(7 * row + 13 * place) % 5000 + 5 for place in range(tokens)] for row in range(rows)]
    generate_greedy(lm, [prompts[0][:20]], max_new_tokens=2, batch_rows=1)  # code and tables that are loaded once
    return peak_growth_bytes(lambda: generate_greedy(lm, prompts, max_new_tokens=NEW, batch_rows=rows))


def main() -> None:
    """Prints the bytes measured and foretold."""
    name, rows, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    lm = wide_family(name)
    sys.stdout.write(f"{measured(lm, rows, tokens)} {bytes_needed(lm, rows, tokens, NEW)}\n")


if __name__ == "__main__":
    assert os.environ.get("MALLOC_MMAP_THRESHOLD_"), (
        "freed memory must go back to the system to be seen: MALLOC_MMAP_THRESHOLD_=65536"
    )
    main()
