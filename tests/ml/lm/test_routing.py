"""The flips of a mixture: tokens that a router sends to other experts in a batch than in the row alone, counted at each token and router."""

from collections.abc import Iterator

import pytest
import torch

from tests.families.models import tiny_family
from workers.lm.model import LanguageModel
from workers.lm.routing import SAMPLE, routing_flips

ROWS = [[5 + (7 * row + 3 * place) % 400 for place in range(9 + row)] for row in range(SAMPLE + 2)]
CHOICES = sum(len(row) for row in ROWS[:SAMPLE])  # of each router


@pytest.fixture(scope="module")
def mixture() -> LanguageModel:
    return tiny_family("mixtral")


@pytest.fixture
def disturbed(mixture: LanguageModel) -> Iterator[LanguageModel]:
    """In batches only, the state of the second row's last token changes its sign at layer 2."""

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


def test_a_token_with_other_experts_in_the_batch_counts_as_a_flip(disturbed: LanguageModel) -> None:
    """Only the routers of the disturbed token may flip, at layer 2 and above."""
    found = routing_flips(disturbed, ROWS)
    assert 1 <= found["routing_flips"] <= disturbed.layout.n_layers - 2
    assert found["routing_choices"] == CHOICES * disturbed.layout.n_layers


def test_a_dense_model_and_a_single_row_have_no_flips(mixture: LanguageModel) -> None:
    assert routing_flips(tiny_family("llama"), ROWS) == {}
    assert routing_flips(mixture, ROWS[:1]) == {}


@pytest.mark.parametrize(("most_tokens", "choices"), [(30, 19), (12, 0)])
def test_a_batch_that_does_not_fit_lowers_the_count_and_does_not_end_the_job(
    mixture: LanguageModel, most_tokens: int, choices: int
) -> None:
    """Within 30 tokens a batch of the rows of 9 and 10 fits and a batch of four does not; within 12 tokens no batch of two fits."""

    def full(_module: object, _args: object, given: dict[str, torch.Tensor]) -> None:
        if given["input_ids"].numel() > most_tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    handle = mixture.layout.decoder.register_forward_pre_hook(full, with_kwargs=True)
    try:
        found = routing_flips(mixture, ROWS)
    finally:
        handle.remove()
    assert found.get("routing_choices", 0) == choices * mixture.layout.n_layers
