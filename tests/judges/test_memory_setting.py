"""One setting bounds the memory of a job: what a judge keeps and what is computed beside it stay within it, and no score in float32
depends on it."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor

from app.settings import Settings
from tests.judges.test_keeping import REFERENCE, proved
from tests.judges.world import NEW_TOKENS, World
from tests.ml.fake_context import FakeContext
from tests.ml.live_tensors import Alive
from workers.judges.base import JudgeItem
from workers.judges.coherence import Reader
from workers.judges.material import Material
from workers.judges.opening import MOST_PROMPT, bytes_left_by, open_judge
from workers.judges.reference import ReferenceJudge
from workers.lm.kept_prompts import USUAL_ROOM, KeptPrompts
from workers.lm.memory import batch_rows_for, kept_bytes, planned_bytes

USUAL: int = Settings.model_fields["batch_budget_bytes"].default

_cells: dict[str, bytes] = {}


def judge_under(w: World, budget: int = USUAL) -> ReferenceJudge:
    """The judge that a job with this setting opens; all but the first find it fitted."""
    context = FakeContext(w.lm, batch_budget_bytes=budget, cells=_cells)
    context.phase("preparing the judge", 1, "judges")
    judge = open_judge(REFERENCE, proved(w.lm), Material(w.trait, w.responses, NEW_TOKENS), context)
    assert isinstance(judge, ReferenceJudge)
    return judge


def held(judge: ReferenceJudge) -> list[Tensor]:
    """The keys and values that the judge keeps now."""
    kept = judge._reader._kept._kept  # type: ignore[union-attr]
    return [] if kept is None else [states for pair in kept.layers.values() for states in pair]


def ruined(w: World) -> list[JudgeItem]:
    """Answers that no prompt makes likely, so that all candidates among the fixed prompts are read."""
    return w.items(w.questions("test", step=4), dose=4.0)


def test_scores_do_not_depend_on_the_memory_in_which_prompts_are_kept(world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    judge, items = judge_under(w), ruined(w)
    scores = judge.score(items)
    assert held(judge)
    for budget in (0, 4 * 10_000):
        small = judge_under(w, budget)
        assert small.score(items) == scores
        assert sum(states.nbytes for states in held(small)) <= kept_bytes(budget) + 10_000, "a zero row is beside the kept ones"
        assert not small._reader._kept.among(small._reader._scale.prompts)  # type: ignore[union-attr]


def test_kept_prompts_and_the_batches_beside_them_are_planned_within_the_setting(world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    least = (planned_bytes(w.lm, 1, 30, 20) or 0) * 4 // 3 + 4
    for budget in (least, 3 * least + 1, 17 * least + 2):
        rows = batch_rows_for(w.lm, 30, 20, bytes_left_by(REFERENCE, budget))
        assert kept_bytes(budget) + (planned_bytes(w.lm, rows, 30, 20) or 0) <= budget
        assert rows < batch_rows_for(w.lm, 30, 20, budget) or rows == 1
    assert bytes_left_by(REFERENCE | {"kind": "openai"}, budget) == budget
    assert kept_bytes(USUAL) == USUAL_ROOM


def test_reading_takes_no_more_than_the_setting(world: Callable[..., World]) -> None:
    """All tensors alive at the same time while a judge computes the prompts that it keeps and reads texts, under the least budget in which it
    may keep all of them and plan one row."""
    w = world("refusal", step=8)
    items, reader = ruined(w), judge_under(w)._reader
    assert reader is not None
    needed = sum(states.nbytes for pair in filled(reader).layers.values() for states in pair)
    length = min(w.lm.context_length, MOST_PROMPT)
    budget = 4 * max(needed, (planned_bytes(w.lm, 1, length, NEW_TOKENS) or 0) // 3 + 1)
    judge = judge_under(w, budget)
    gc.collect()
    with Alive() as alive:
        judge.score(items)
    assert held(judge)
    assert kept_bytes(budget) / 4 < alive.peak <= budget, f"{alive.peak:,} of {budget:,} bytes"


def filled(reader: Reader) -> Any:
    reader._kept.among(reader._scale.prompts)
    return reader._kept._kept


def test_one_judge_of_a_model_keeps_prompts_at_a_time(world: Callable[..., World]) -> None:
    """A steering opens another judge for each off-target trait while its own judge is open. The scores of the first stay."""
    w = world("refusal", step=8)
    first, items = judge_under(w), ruined(w)
    scores = first.score(items)
    assert held(first)
    second = judge_under(w)
    assert not held(first), "the model answers for the fit of the second judge in batches of the whole budget"
    second.score(items)
    assert held(second)
    first.score([JudgeItem(item.question, None, f"{item.text} .", (*item.ids, 5), item.prompt_ids) for item in items])
    assert held(first)
    assert not held(second)
    assert first.score(items) == scores


def test_a_closed_judge_holds_no_memory(world: Callable[..., World]) -> None:
    """A judge and its ranking refer to each other, so without closing its prompts would stay until Python collects such rings."""
    w = world("refusal", step=8)
    judge = judge_under(w)
    judge.score(ruined(w))
    alive = [weakref.ref(states) for states in held(judge)]
    assert alive
    gc.disable()
    try:
        judge.close()
        del judge
        assert not any(ref() is not None for ref in alive)
    finally:
        gc.enable()


def test_prompts_are_computed_until_the_memory_is_used_up(world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    prompts = [list(range(5, 5 + length)) for length in range(30, 10, -1)]
    tokens: list[int] = []
    hook = w.lm.layout.site(0, "residual").register_forward_pre_hook(
        lambda _m, inputs: tokens.append(inputs[0].shape[:2].numel())
    )
    try:
        counts = []
        for room in (0, USUAL_ROOM):
            KeptPrompts(w.lm, prompts, room=room).among(prompts)
            counts.append(sum(tokens) - sum(counts))
    finally:
        hook.remove()
    assert 0 < counts[0] < counts[1]
