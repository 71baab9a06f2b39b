"""A steered row equals itself alone: in any batch, with any neighbours, after any refill or halving (science.md, 4.3)."""

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ml.steering import naive, some_rows, texts
from tests.ml.tiny_models import ARCHITECTURES
from workers.lm.model import LanguageModel
from workers.lm.steered import generate_steered


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_row_equals_itself_alone(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    """All operations, components and scopes mixed, rows that end at different steps, more rows than slots."""
    endless = replace(tiny_lm(arch), eos_ids=frozenset())
    rows = some_rows(endless, 1, 16, longest=24)
    whole = [naive(endless, row, 14) for row in rows]
    unsteered = [naive(endless, replace(row, pushes=()), 14) for row in rows]
    changed = sum(a != b for a, b in zip(whole, unsteered, strict=True))
    assert changed > sum(bool(row.pushes) for row in rows) / 2, "the pushes should change most texts"
    lm = replace(endless, eos_ids=frozenset(answer[2 * row] for row, answer in enumerate(whole[:7])))
    alone = [list(takewhile(lambda token: token not in lm.eos_ids, answer)) for answer in whole]
    assert len({len(answer) for answer in alone}) > 2, "the rows should end at different steps, or refilling is not tried"
    answers = generate_steered(lm, rows, max_new_tokens=14, batch_rows=5)
    assert texts(answers) == alone
    assert [answer.ended for answer in answers] == [len(answer) < 14 for answer in alone]
    assert texts(generate_steered(endless, rows, max_new_tokens=14, batch_rows=16)) == whole


@pytest.mark.parametrize("arch", ["llama", "gemma3", "gpt2", "gpt_neox", "olmo2"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 9),
    batch=st.integers(1, 9),
    longest=st.integers(1, 30),
    new=st.integers(1, 9),
    endless=st.booleans(),
)
def test_text_does_not_depend_on_the_batch_plan(
    arch: str, tiny_lm: Callable[..., LanguageModel], seed: int, rows: int, batch: int, longest: int, new: int, endless: bool
) -> None:
    lm = replace(tiny_lm(arch), eos_ids=frozenset()) if endless else tiny_lm(arch)
    mix = some_rows(lm, seed, rows, longest=longest)
    assert texts(generate_steered(lm, mix, max_new_tokens=new, batch_rows=batch)) == [naive(lm, row, new) for row in mix]
