"""A reference judge is fitted in cells: an attempt that was killed or gave way repeats nothing, and the judge comes out the same."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.judges.world import World
from tests.ml.fake_context import FakeContext
from workers.job import JobCancelled, JobYielded
from workers.judges import preparing
from workers.judges.material import Material
from workers.judges.opening import open_judge
from workers.judges.reference import ReferenceJudge
from workers.lm import answering
from workers.lm.model import LanguageModel

Worlds = Callable[..., World]
REFERENCE = {"name": "reference", "kind": "reference", "model": None, "url": None, "key_env": None, "options": {}}
NEW = 12
PIECE = 512
MOST_TOKENS = 2 * PIECE
"""Tokens that go through the model between two chances to give way. A slow model takes milliseconds for each."""


class Seen(FakeContext):
    """Counts the model's passes, also between two chances to give way, and gives way at the chance of a number."""

    def __init__(self, lm: LanguageModel, *, gives_way_at: int = -1, **options: Any) -> None:
        super().__init__(lm, **options)
        self.gives_way_at = gives_way_at
        self.passes, self.since, self.most = 0, 0, 0

    def passed(self, tokens: int) -> None:
        self.passes += 1
        self.since += tokens
        self.most = max(self.most, self.since)

    def may_yield(self) -> None:
        super().may_yield()
        self.since = 0
        if self.yield_points == self.gives_way_at:
            raise JobYielded("yielded")


@contextmanager
def fitting(w: World, context: Seen) -> Iterator[Callable[[], Any]]:
    """Within the block, what opens the trait's judge in a job; the model's passes are counted."""
    handle = w.lm.layout.site(0, "mlp_out").register_forward_hook(lambda _m, _i, out: context.passed(out[..., 0].numel()))
    context.phase("preparing the judge", 1, "judges")
    try:
        yield lambda: open_judge(REFERENCE, w.lm, Material(w.trait, None, NEW), context)
    finally:
        handle.remove()


@pytest.fixture
def w(world: Worlds, monkeypatch: pytest.MonkeyPatch) -> World:
    """A trait with fewer questions, kept and asked about at every chance, a few texts at a time."""
    monkeypatch.setattr(answering, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(preparing, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(preparing, "PIECE_TOKENS", PIECE)
    return world("refusal", step=15)


def test_whether_killed_or_giving_way_nothing_is_repeated(w: World) -> None:
    """Each attempt does what the ones before had not finished, but for passes over prompts of answers that had begun."""
    alone = Seen(w.lm)
    with fitting(w, alone) as fit:
        judge = fit()
    assert judge.identity == ReferenceJudge.fit(w.lm, Material(w.trait, None, NEW)).identity
    cells: dict[str, bytes] = {}
    passes, attempts = 0, 0
    while True:
        attempts += 1
        context = Seen(w.lm, gives_way_at=6, cells=cells)
        with fitting(w, context) as fit:
            try:
                found = fit()
            except JobYielded:
                passes += context.passes
                assert not [name for name in context.committed if name.startswith("judge:")]
                continue
        break
    passes += context.passes
    assert attempts > 3
    assert json.dumps(found.to_json()) == json.dumps(judge.to_json())
    assert passes <= alone.passes + 3 * attempts


@pytest.mark.parametrize("reports", [5, 15])
def test_a_kill_costs_no_finished_cell(w: World, reports: int) -> None:
    def stop(seen: int) -> None:
        if seen >= reports:
            raise JobCancelled

    first = Seen(w.lm, stop=stop)
    with fitting(w, first) as fit, pytest.raises(JobCancelled):
        fit()
    second = Seen(w.lm, cells=dict(first.cells))
    with fitting(w, second) as fit:
        found = fit()
    again = {name for name in first.committed if not name.endswith("/begun")} & set(second.committed)
    assert not again
    assert found.identity == ReferenceJudge.fit(w.lm, Material(w.trait, None, NEW)).identity


def test_a_slow_model_soon_gives_way(w: World) -> None:
    context = Seen(w.lm)
    with fitting(w, context) as fit:
        fit()
    assert 0 < context.most <= MOST_TOKENS


def test_an_equal_fit_repeats_nothing_at_all(w: World) -> None:
    first = Seen(w.lm)
    with fitting(w, first) as fit:
        fit()
    second = Seen(w.lm, cells=dict(first.cells))
    with fitting(w, second) as fit:
        fit()
    assert second.passes == 0
