"""Flips of routing are counted against the row alone, at each token and router, and nothing is counted without routers."""

from collections.abc import Iterator

import pytest
import torch

from tests.families.models import tiny_family
from workers.lm.model import LanguageModel
from workers.lm.routing import SAMPLE, routing_flips

ROWS = [[5 + (7 * row + 3 * place) % 400 for place in range(9 + row)] for row in range(SAMPLE + 2)]
CHOICES = sum(len(row) for row in ROWS[:SAMPLE])


@pytest.fixture(scope="module")
def mixture() -> LanguageModel:
    return tiny_family("mixtral")


@pytest.fixture
def disturbed(mixture: LanguageModel) -> Iterator[LanguageModel]:
    """In a batch, and there alone, the last token of the second row is another one from layer 2 on."""

    def hook(_module: object, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        h_BTD = args[0]
        if len(h_BTD) > 1:
            h_BTD = h_BTD.clone()
            h_BTD[1, len(ROWS[1]) - 1] *= -1
        return (h_BTD, *args[1:])

    handle = mixture.layout.sites[2]["residual"].register_forward_pre_hook(hook)
    yield mixture
    handle.remove()


def test_every_token_of_the_sample_is_compared_at_every_router(mixture: LanguageModel) -> None:
    assert routing_flips(mixture, ROWS) == {"routing_choices": CHOICES * mixture.layout.n_layers, "routing_flips": 0}


def test_a_token_with_other_experts_in_the_batch_is_a_flip(disturbed: LanguageModel) -> None:
    """The sign of its state is turned at layer 2, so its routers there and after may flip: those of one token, and no others."""
    found = routing_flips(disturbed, ROWS)
    assert 1 <= found["routing_flips"] <= disturbed.layout.n_layers - 2
    assert found["routing_choices"] == CHOICES * disturbed.layout.n_layers


def test_a_dense_model_and_a_single_row_have_none_to_compare(mixture: LanguageModel) -> None:
    assert routing_flips(tiny_family("llama"), ROWS) == {}
    assert routing_flips(mixture, ROWS[:1]) == {}


@pytest.mark.parametrize(("most_tokens", "choices"), [(30, 19), (12, 0)])
def test_a_batch_that_does_not_fit_costs_the_figure_and_never_the_job(
    mixture: LanguageModel, most_tokens: int, choices: int
) -> None:
    """Two rows of 9 and 10 tokens fit within 30, four do not; within 12 none of both."""

    def full(_module: object, _args: object, given: dict[str, torch.Tensor]) -> None:
        if given["input_ids"].numel() > most_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    handle = mixture.layout.decoder.register_forward_pre_hook(full, with_kwargs=True)
    try:
        found = routing_flips(mixture, ROWS)
    finally:
        handle.remove()
    assert found.get("routing_choices", 0) == choices * mixture.layout.n_layers
