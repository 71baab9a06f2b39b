"""Passes are larger on a GPU, where each costs its launch, and smaller again where blocks are large. Plans need no GPU."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import pass_cost, reading_tokens
from workers.lm.sharing import plan_for


@pytest.fixture
def lm(tiny_lm: Callable[..., LanguageModel]) -> LanguageModel:
    return tiny_lm("llama")


def on_gpu(lm: LanguageModel, parameters: int) -> LanguageModel:
    """The model as if it were on a GPU, with blocks of so many parameters, which take no memory."""
    block = nn.Linear(1000, parameters // 1000, bias=False, device="meta")
    layout = replace(lm.layout, sites=({"residual": block},) * lm.layout.n_layers)
    return replace(lm, layout=layout, device=torch.device("cuda"))


def test_on_a_cpu_a_pass_costs_little_and_is_small(lm: LanguageModel) -> None:
    assert (pass_cost(lm), reading_tokens(lm)) == (32, 1024)
    assert pass_cost(replace(lm, pass_cost=7)) == 7


@pytest.mark.parametrize(
    ("parameters", "cost", "tokens"),
    [(3_500_000, 8192, 8192), (47_000_000, 2048, 8192), (94_000_000, 1024, 4096), (855_000_000, 112, 1024), (10**11, 32, 1024)],
    ids=["135M", "1.5B", "4B", "70B", "experts"],
)
def test_on_a_gpu_a_launch_is_worth_fewer_tokens_of_a_larger_model(
    lm: LanguageModel, parameters: int, cost: int, tokens: int
) -> None:
    large = on_gpu(lm, parameters)
    assert (pass_cost(large), reading_tokens(large)) == (cost, tokens)


def test_rows_are_read_on_a_gpu_in_fewer_passes_than_32_at_a_time(lm: LanguageModel) -> None:
    """512 rows of 44 to 60 tokens took 27 passes, and on an H100 2.1 times as long as the 16 passes of 32 rows each."""
    draw = random.Random(0)
    rows = [[draw.randrange(10, 250_000) for _ in range(draw.randint(44, 60))] for _ in range(512)]
    plan = plan_for(on_gpu(lm, 94_000_000), rows)
    assert len(plan.passes) == 7
    assert plan.block_tokens <= 1.05 * sum(map(len, rows))


def test_a_beginning_is_computed_once_on_a_gpu_where_that_saves_more_than_a_launch(lm: LanguageModel) -> None:
    heads = [*range(100, 160)], [*range(200, 203)]
    rows = [[*head, 300 + n, *range(400, 420)] for head in heads for n in range(100)]
    plan = plan_for(on_gpu(lm, 94_000_000), rows)
    assert [pass_.segments[0].stop for pass_ in plan.passes if pass_.kept] == [
        60
    ]  # 99 x 60 tokens are saved; 99 x 3 are not worth 1,024
    assert {pass_.segments[0].stop for pass_ in plan_for(lm, rows).passes if pass_.kept} == {60, 3}
