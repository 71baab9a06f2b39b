"""The memory of measuring does not grow with the number of tokens, and values kept per token may spill to a file without changing a byte."""

import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.ml.calibrating import calibrate_bytes
from tests.ml.peak_memory import peak_growth_bytes
from tests.ml.tiny_models import LAYERS, VOCAB
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.science import tokenvalues
from workers.science.measuring import Row, measure
from workers.science.tokenvalues import TokenValues

WIDTH, PROMPT, ANSWER = 512, 20, 180
MIB = 1 << 20


def rows(count: int) -> list[Row]:
    draw = random.Random(0)
    return [
        Row([draw.randrange(VOCAB) for _ in range(PROMPT)], [draw.randrange(VOCAB) for _ in range(ANSWER)]) for _ in range(count)
    ]


def test_ten_times_the_tokens_take_the_same_memory(tiny_folder: Callable[..., Path]) -> None:
    """Keeping the response tokens' hidden states would take 63 MiB more; the scalars that are kept go to a file. About 10 MiB are
    fragmentation of the heap."""
    lm = load(tiny_folder("llama", hidden_size=WIDTH, head_dim=128))

    def work(count: int) -> Callable[[], None]:
        def run() -> None:
            with closing(TokenValues(LAYERS)) as tokens:
                measure(lm, rows(count), tokens, layers=range(LAYERS), rule="peeling")

        return run

    peak_growth_bytes(work(5))  # the first run also pays for what the libraries set up once
    few, many = peak_growth_bytes(work(5)), peak_growth_bytes(work(50))
    kept_states = 45 * ANSWER * LAYERS * WIDTH * 4
    assert kept_states > 60 * MIB
    assert many - few < kept_states / 2, f"{few / MIB:.1f} MiB for 5 prompts, {many / MIB:.1f} MiB for 50"


def test_values_that_spill_to_a_file_are_the_same(tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm("llama")
    expected = calibrate_bytes(lm, rule="all")
    monkeypatch.setattr(tokenvalues, "MEMORY_BYTES", 1000)
    assert calibrate_bytes(lm, rule="all") == expected
