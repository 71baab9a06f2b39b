"""Passes are larger on a GPU, where each costs its launch, and smaller again where blocks are large. Plans need no GPU."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from workers.lm.model import LanguageModel
from workers.lm.pass_sizes import pass_cost, reading_tokens, spare_pads
from workers.lm.prefixes import Segment, groups_of
from workers.lm.sharing import plan_for


@pytest.fixture
def lm(tiny_lm: Callable[..., LanguageModel]) -> LanguageModel:
    return tiny_lm("llama")


def on_gpu(lm: LanguageModel, width: int) -> LanguageModel:
    """The model as if it were on a GPU and had hidden states of this width."""
    return replace(lm, layout=replace(lm.layout, hidden_size=width), device=torch.device("cuda"))


def test_on_a_cpu_a_pass_costs_little_and_is_small(lm: LanguageModel) -> None:
    assert (pass_cost(lm), reading_tokens(lm), spare_pads(lm)) == (32, 1024, 0)
    assert pass_cost(replace(lm, pass_cost=7)) == 7


@pytest.mark.parametrize(
    ("width", "cost", "tokens"),
    [(576, 8192, 8192), (1536, 2906, 5812), (2560, 1046, 2092), (4096, 408, 1024), (8192, 102, 1024), (10**6, 32, 1024)],
    ids=["135M", "1.5B", "4B", "8B", "70B", "none yet"],
)
def test_on_a_gpu_a_launch_is_worth_fewer_tokens_of_a_wider_model(lm: LanguageModel, width: int, cost: int, tokens: int) -> None:
    wide = on_gpu(lm, width)
    assert (pass_cost(wide), reading_tokens(wide), spare_pads(wide)) == (cost, tokens, cost)


def test_rows_are_read_on_a_gpu_in_fewer_passes_than_32_at_a_time(lm: LanguageModel) -> None:
    """512 rows of 44 to 60 tokens took 27 passes, and on an H100 2.1 times as long as the 16 passes of 32 rows each."""
    draw = random.Random(0)
    rows = [[draw.randrange(10, 250_000) for _ in range(draw.randint(44, 60))] for _ in range(512)]
    plan = plan_for(on_gpu(lm, 2560), rows)
    assert len(plan.passes) == 14
    assert plan.block_tokens <= 1.05 * sum(map(len, rows))


def test_texts_of_many_lengths_are_read_on_a_gpu_in_few_passes(lm: LanguageModel) -> None:
    """With a share of pads alone, texts of unlike lengths were read in as many passes as on a CPU."""
    draw = random.Random(1)
    rows = [[draw.randrange(10, 250_000) for _ in range(draw.randint(20, 200))] for _ in range(64)]
    assert len(plan_for(on_gpu(lm, 1536), rows).passes) <= 3
    segments = [Segment((n,), 40, 40 + draw.randint(5, 100)) for n in range(64)]
    kept = {"most_rows": 64, "pass_tokens": 5812}
    assert len(groups_of(segments, **kept, spare_pads=2906)) <= 2 < len(groups_of(segments, **kept, spare_pads=0))


def test_a_beginning_is_computed_once_on_a_gpu_where_that_saves_more_than_a_launch(lm: LanguageModel) -> None:
    heads = [*range(100, 160)], [*range(200, 203)]
    rows = [[*head, 300 + n, *range(400, 420)] for head in heads for n in range(100)]
    plan = plan_for(on_gpu(lm, 2560), rows)
    assert [pass_.segments[0].stop for pass_ in plan.passes if pass_.kept] == [
        60
    ]  # 99 x 60 tokens are saved; 99 x 3 are not worth 1,046
    assert {pass_.segments[0].stop for pass_ in plan_for(lm, rows).passes if pass_.kept} == {60, 3}
