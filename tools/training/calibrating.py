"""The calibration of a shipped model, by the same code that the service runs (docs/science.md, 2)."""

from contextlib import closing
from pathlib import Path
from typing import Any

from binnacle.words.massive import DEFAULT_RULE
from workers.lm.generation import generate_greedy
from workers.lm.loading import load
from workers.lm.prompts import encode_prompt
from workers.science.aggregate import aggregate
from workers.science.measuring import Row, measure
from workers.science.tokenvalues import TokenValues

NEW_TOKENS = 64


def calibrate(folder: Path, prompts: list[str]) -> dict[str, Any]:
    """The `aggregate` block of calibration.json over these prompts, with the default rule for massive dims."""
    lm = load(folder)
    ids = [encode_prompt(lm, prompt) for prompt in prompts]
    replies = generate_greedy(lm, ids, max_new_tokens=NEW_TOKENS, batch_rows=len(ids))
    rows = [Row(prompt, reply) for prompt, reply in zip(ids, replies, strict=True)]
    layers = list(range(lm.layout.n_layers))
    with closing(TokenValues(len(layers))) as tokens:
        statistics = measure(lm, rows, tokens, layers=layers, rule=DEFAULT_RULE)
        found: dict[str, Any] = aggregate(statistics, tokens, DEFAULT_RULE)
    return found
