"""The plan of shared prefixes: every row is the concatenation of its segments, and no other choice of split points costs less."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.lm.prefixes import ATTENDED_TOKENS, PADDING, PASS_COST, PASS_TOKENS, Plan, plan_of

Rows = list[list[int]]
SHORT = st.lists(st.integers(0, 2), min_size=1, max_size=30)
HEADS = st.lists(st.lists(st.integers(0, 1), max_size=25), min_size=1, max_size=4)


@st.composite
def families(draw: st.DrawFn) -> Rows:
    """Rows that begin with some of a few heads, one after another, so that they share prefixes on several levels."""
    heads = draw(HEADS)
    rows = draw(st.lists(st.tuples(st.lists(st.sampled_from(heads), max_size=3), SHORT), min_size=1, max_size=14))
    return [[*(token for head in picked for token in head), *tail] for picked, tail in rows]


def path_of(plan: Plan, row: int) -> list[tuple[int, int]]:
    """(start, stop) of every segment of a row, in the order of the passes."""
    return [(s.start, s.stop) for one in plan.passes for s in one.segments if row in s.rows]


@settings(max_examples=60, deadline=None)
@given(families(), st.booleans(), st.sampled_from([1, 40, PASS_TOKENS]))
def test_every_row_is_the_concatenation_of_its_segments(rows: Rows, shared: bool, pass_tokens: int) -> None:
    plan = plan_of(rows, shared=shared, pass_tokens=pass_tokens)
    for number, row in enumerate(rows):
        path = path_of(plan, number)
        assert [path[0][0], *(stop for _, stop in path)] == [*(start for start, _ in path), len(row)]
    for one in plan.passes:
        for segment in one.segments:
            assert len({tuple(rows[number][: segment.stop]) for number in segment.rows}) == 1
            assert segment.start == one.start
            assert len(segment) > 0


@settings(max_examples=60, deadline=None)
@given(families(), st.sampled_from([1, 40, PASS_TOKENS]))
def test_a_pass_comes_after_the_kept_pass_of_its_prefix(rows: Rows, pass_tokens: int) -> None:
    """Kept passes are a stack: a pass is dropped when the next one does not come after it."""
    stack: list[int] = []
    for number, one in enumerate(plan := plan_of(rows, pass_tokens=pass_tokens).passes):
        while stack and stack[-1] != one.after:
            stack.pop()
        assert (stack[-1] if stack else None) == one.after
        assert one.start == (0 if one.after is None else plan[one.after].segments[0].stop)
        if one.after is not None:
            assert {row for s in one.segments for row in s.rows} <= set(plan[one.after].segments[0].rows)
        if one.kept:
            stack.append(number)
            assert len(one.segments) == 1


@settings(max_examples=60, deadline=None)
@given(families(), st.sampled_from([1, 40, PASS_TOKENS]))
def test_passes_stay_within_their_limits(rows: Rows, pass_tokens: int) -> None:
    plan = plan_of(rows, pass_tokens=pass_tokens)
    for one in plan.passes:
        size, real = len(one.segments) * one.width, sum(map(len, one.segments))
        assert size - real <= PADDING * size
        if len(one.segments) > 1:
            assert size <= pass_tokens
            assert len(one.segments) * (one.start + one.width) <= ATTENDED_TOKENS
    assert plan.least_tokens <= plan.block_tokens <= 1.06 * plan.least_tokens


def cost_with(rows: Rows, points: Sequence[tuple[int, ...]]) -> int:
    """The tokens to compute, plus PASS_COST a prefix, when exactly the prefixes `points` are computed once and shared."""
    total = PASS_COST * len(points)
    for target in {*points, *map(tuple, rows)}:
        starts = [len(point) for point in points if len(point) < len(target) and target[: len(point)] == point]
        total += len(target) - max(starts, default=0)
    return total


@settings(max_examples=60, deadline=None)
@given(families())
def test_no_other_choice_of_split_points_costs_less(rows: Rows) -> None:
    """Against every set of points at which rows differ or end, up to nine points."""
    distinct = sorted(set(map(tuple, rows)))
    points = set()
    for one, other in combinations(distinct, 2):
        common = next(
            (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
        )
        points.add(one[:common])
    candidates = sorted(points - {()})[:9]
    plan = plan_of(rows)
    found = plan.least_tokens + PASS_COST * sum(one.kept for one in plan.passes)
    least = min(cost_with(rows, chosen) for size in range(len(candidates) + 1) for chosen in combinations(candidates, size))
    assert found <= least
    if len(points - {()}) <= len(candidates):
        assert found == least


def test_two_system_prompts_are_computed_once_each() -> None:
    """The form of persona datasets: 50 questions of 15 tokens under each of two system prompts, after the same template."""
    template, system = [1, 2, 3], [[10] * 40, [11] * 50]
    rows = [
        [*template, *system[kind], 4, *range(100 + question * 20, 115 + question * 20)]
        for kind in (0, 1)
        for question in range(50)
    ]
    plan = plan_of(rows)
    assert plan.least_tokens == (3 + 40 + 1) + (3 + 50 + 1) + 100 * 15
    assert plan.block_tokens == plan.least_tokens
    assert plan.to_dict() == {"prefix": "shared", "tokens": sum(map(len, rows)), "block_tokens": 1598, "prefixes": 2, "passes": 4}


def test_the_order_of_rows_changes_nothing_but_their_numbers() -> None:
    rows = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, number, *range(number)] for number in range(20)]
    turned = list(reversed(rows))
    one, other = plan_of(rows), plan_of(turned)
    sizes = [[(s.start, s.stop) for p in plan.passes for s in p.segments] for plan in (one, other)]
    assert sorted(sizes[0]) == sorted(sizes[1])


@pytest.mark.parametrize("shared", [True, False])
def test_equal_rows_are_computed_once_and_a_row_may_be_a_prefix_of_others(shared: bool) -> None:
    long = list(range(40))
    plan = plan_of([long, long[:30], long, [*long[:30], 99]], shared=shared)
    assert plan.least_tokens == (41 if shared else 40 + 30 + 31)


def test_thousands_of_rows_that_extend_one_another_are_planned() -> None:
    """The tree of prefixes is as deep as the rows are long, so the plan must not recurse."""
    rows = [[7] * length for length in range(1, 1500)]
    plan = plan_of(rows)
    assert [path_of(plan, 1498)[0][0], path_of(plan, 1498)[-1][1]] == [0, 1499]
