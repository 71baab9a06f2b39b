"""Padding changes no row: not through a recurrent state, and not by positions beyond the context."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.families.models import tiny_family
from workers.lm.divergence import Texted, divergences
from workers.lm.interventions import Push
from workers.lm.kept_prompts import KeptPrompts
from workers.lm.likelihood import settled_log_likelihoods


def drawn(generator: torch.Generator, length: int) -> list[int]:
    """Random token ids."""
    return list(map(int, torch.randint(5, 400, (length,), generator=generator)))


@pytest.mark.parametrize("family", ["llama", "recurrent_gemma", "mamba2", "jamba"])
def test_a_divergence_does_not_depend_on_the_other_rows_of_the_batch(family: str) -> None:
    """A row alone has no padding. 1e-5 nats is ten times the rounding error of these models."""
    lm = tiny_family(family)
    generator = torch.Generator().manual_seed(1)
    pushed = (Push(1, "residual", torch.randn(lm.layout.hidden_size, generator=generator), 1.0),)
    short: Texted = (drawn(generator, 9), drawn(generator, 6), pushed)
    longer: list[Texted] = [(drawn(generator, length), drawn(generator, 6), pushed) for length in (12, 30)]
    [alone] = divergences(lm, [short], batch_rows=2)
    assert alone.max() > 1e-3, "the push changes nothing, so nothing is compared"
    for other in longer:
        np.testing.assert_allclose(divergences(lm, [other, short], batch_rows=8)[1], alone, atol=1e-5)


@pytest.mark.parametrize(("family", "limit", "most"), [("gpt2", "n_positions", 1024), ("mpt", "max_seq_len", 128)])
def test_a_row_that_ends_with_the_context_is_read_beside_longer_answers(family: str, limit: str, most: int) -> None:
    """The padding after such a row has no learned position, and in MPT no bias by distance."""
    lm = tiny_family(family)
    setattr(lm.model.config, limit, most)  # GPT-2 has so many positions already; MPT looks here when it runs
    lm = replace(lm, facts=replace(lm.facts, context_length=most))
    generator = torch.Generator().manual_seed(0)
    filling, shorter = drawn(generator, most - 20), drawn(generator, most - 40)
    prompts = [shorter] * 19 + [filling]
    answers = [drawn(generator, 24) for _ in range(19)] + [drawn(generator, 20)]
    plain = settled_log_likelihoods(lm, prompts, answers, batch_rows=32)
    kept = settled_log_likelihoods(lm, prompts, answers, batch_rows=32, kept=KeptPrompts(lm, [filling, shorter]))
    assert kept == plain
