"""A reference judge is fitted in cells: after a kill or a yield the next attempt repeats no finished cell, and the judge is the same."""

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
NEW = 12  # tokens of an answer
PIECE = 512
MOST_TOKENS = 2 * PIECE
"""The most tokens that may go through the model between two chances to yield. A slow model takes milliseconds for each."""


class Seen(FakeContext):
    """Counts the passes of the model, and the tokens between two chances to yield; yields at chance number `gives_way_at`."""

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
    """Within the block, a function that opens the judge of the trait in this job; `context` counts the passes of the model."""
    handle = w.lm.layout.site(0, "mlp_out").register_forward_hook(lambda _m, _i, out: context.passed(out[..., 0].numel()))
    context.phase("preparing the judge", 1, "judges")
    try:
        yield lambda: open_judge(REFERENCE, w.lm, Material(w.trait, None, NEW), context)
    finally:
        handle.remove()


@pytest.fixture
def w(world: Worlds, monkeypatch: pytest.MonkeyPatch) -> World:
    """A trait with few questions; results are kept at every chance, PIECE tokens at a time."""
    monkeypatch.setattr(answering, "ASK_SECONDS", 0.0)
    monkeypatch.setattr(preparing, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(preparing, "PIECE_TOKENS", PIECE)
    return world("refusal", step=15)


def test_an_attempt_after_a_yield_repeats_no_finished_work(w: World) -> None:
    """An attempt repeats only passes over the prompts of answers that had begun, at most 3 passes here."""
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


def test_few_tokens_pass_between_two_chances_to_yield(w: World) -> None:
    context = Seen(w.lm)
    with fitting(w, context) as fit:
        fit()
    assert 0 < context.most <= MOST_TOKENS


def test_an_equal_fit_needs_no_pass_of_the_model(w: World) -> None:
    first = Seen(w.lm)
    with fitting(w, first) as fit:
        fit()
    second = Seen(w.lm, cells=dict(first.cells))
    with fitting(w, second) as fit:
        fit()
    assert second.passes == 0
