"""Sampling follows the distribution computed in plain Python, and takes the likeliest token at tiny temperatures."""

import math
import random

import pytest
import torch

from workers.lm.sampling import Sampling, draw

LOGITS = [1.0, 30.0, 2.0, 29.9, 28.0]


def by_hand(logits: list[float], temperature: float, top_p: float, uniform: float) -> int:
    """The token at the uniform number's place among the tokens of the nucleus, in order of their ids."""
    weights = [math.exp((one - max(logits)) / temperature) for one in logits]
    kept: list[int] = []
    for token in sorted(range(len(logits)), key=lambda token: -weights[token]):
        if sum(weights[one] for one in kept) < top_p * sum(weights):
            kept.append(token)
    left = uniform * sum(weights[token] for token in kept)
    for token in sorted(kept):
        left -= weights[token]
        if left < 0:
            return token
    raise AssertionError


def test_a_draw_inverts_the_distribution_at_the_uniform_number() -> None:
    numbers = random.Random(1)
    cases = [(numbers.uniform(0.2, 5), numbers.choice([1.0, 0.9, 0.5]), numbers.random()) for _ in range(500)]
    drawn, _ = draw(
        torch.tensor([LOGITS] * len(cases), dtype=torch.float64),
        [Sampling(temperature, top_p) for temperature, top_p, _ in cases],
        [uniform for _, _, uniform in cases],
        [0.0] * len(cases),
    )
    assert drawn == [by_hand(LOGITS, *case) for case in cases]
    assert len(set(drawn)) > 2


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("temperature", [1e-3, 1e-29, 1e-300, 1e-307, 5e-324])
def test_the_coldest_draws_take_the_likeliest_token(temperature: float, top_p: float) -> None:
    """A request may set any temperature above 0."""
    assert draw(torch.tensor([LOGITS]), [Sampling(temperature, top_p)], [0.5], [1e-4])[0] == [1]
