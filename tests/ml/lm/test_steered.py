"""A steered row equals the row alone, in any batch and after running out of memory (docs/science.md, 4.3)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import takewhile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ml.lm.test_lm_generation import OutOfMemoryAbove
from tests.ml.steered_rows import naive, some_rows, texts
from tests.ml.tiny_models import ARCHITECTURES
from workers.lm.capture import assert_no_hooks
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import generate_steered


@contextmanager
def memory_for(lm: LanguageModel, rows: int) -> Iterator[OutOfMemoryAbove]:
    """Makes the model run out of memory on more than `rows` rows."""
    forward = OutOfMemoryAbove(lm, rows)
    lm.model.forward = forward  # type: ignore[method-assign]
    try:
        yield forward
    finally:
        del lm.model.forward


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_row_in_a_batch_equals_the_row_alone(arch: str, tiny_lm: Callable[..., LanguageModel]) -> None:
    """All operations, components and scopes mixed, rows that end at different steps, more rows than slots, every common beginning shared."""
    endless = replace(tiny_lm(arch), eos_ids=frozenset(), pass_cost=0)
    rows = some_rows(endless, 1, 11, longest=24)
    whole = [naive(endless, row, 14) for row in rows]
    by_prompt = {(tuple(row.prompt_ids), row.sampling): replace(row, pushes=()) for row in rows}
    unsteered_by = {key: naive(endless, row, 14) for key, row in by_prompt.items()}
    unsteered = [unsteered_by[tuple(row.prompt_ids), row.sampling] for row in rows]
    changed = sum(a != b for a, b in zip(whole, unsteered, strict=True))
    assert changed > sum(bool(row.pushes) for row in rows) / 2, "the pushes should change most texts"
    lm = replace(endless, eos_ids=frozenset(answer[2 * row] for row, answer in enumerate(whole[:7])))
    alone = [list(takewhile(lambda token: token not in lm.eos_ids, answer)) for answer in whole]
    assert len({len(answer) for answer in alone}) > 2, "the rows should end at different steps, or refilling is not tried"
    answers = generate_steered(lm, rows, max_new_tokens=14, batch_rows=5)
    assert texts(answers) == alone
    assert [answer.ended for answer in answers] == [len(answer) < 14 for answer in alone]
    assert texts(generate_steered(endless, rows, max_new_tokens=14, batch_rows=11)) == whole


@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 9),
    batch=st.integers(1, 9),
    fits=st.integers(1, 9),
    longest=st.integers(1, 30),
    new=st.integers(1, 9),
    endless=st.booleans(),
    pass_cost=st.sampled_from([None, 0, 8]),
)
def test_text_depends_neither_on_the_batch_plan_nor_on_memory_running_out(
    arch: str,
    tiny_lm: Callable[..., LanguageModel],
    seed: int,
    rows: int,
    batch: int,
    fits: int,
    longest: int,
    new: int,
    endless: bool,
    pass_cost: int | None,
) -> None:
    """Random rows and lengths. `fits` below `batch` forces halving; the less a pass costs, the more beginnings are shared."""
    lm = replace(tiny_lm(arch), pass_cost=pass_cost)
    lm = replace(lm, eos_ids=frozenset()) if endless else lm
    mix = some_rows(lm, seed, rows, longest=longest)
    counts, done = GenerationCounts(), dict[int, list[int]]()
    with memory_for(lm, fits) as forward:
        answers = generate_steered(
            lm,
            mix,
            max_new_tokens=new,
            batch_rows=batch,
            counts=counts,
            on_rows_done=lambda ended: done.update({index: answer.ids for index, answer in ended}),
        )
    assert texts(answers) == [naive(lm, row, new) for row in mix] == [done[index] for index in range(rows)]
    assert forward.failures == counts.halvings
    assert counts.smallest_batch <= fits
    assert counts.rows_done == rows
    assert_no_hooks(lm.model)
