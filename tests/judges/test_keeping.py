"""Equal jobs share one fitted reference judge: the stored one gives the same scores, and its key covers everything that a fit depends on."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app.jobs.models import SHARED_CELL
from tests.judges.world import World
from tests.ml.fake_context import FakeContext
from workers.job import SHARED
from workers.judges.base import Judge, JudgeItem
from workers.judges.keeping import key_of
from workers.judges.material import Material
from workers.judges.opening import open_judge
from workers.judges.reference import ReferenceJudge
from workers.lm.model import LanguageModel

REFERENCE = {"name": "reference", "kind": "reference", "model": None, "url": None, "key_env": None, "options": {}}


def test_the_cells_that_are_shared_are_those_that_the_database_finds_by_an_index() -> None:
    assert f"cell LIKE '{SHARED}%'" == SHARED_CELL


def proved(lm: LanguageModel, **changes: Any) -> LanguageModel:
    """The model with a reading hash, as after its proofs, and other facts changed."""
    return replace(lm, facts=replace(lm.facts, reading_hash="r" * 64, **changes))


def opened(w: World, lm: LanguageModel, context: FakeContext, kind: str = "reference") -> Judge:
    """The judge that a job with this context opens."""
    context.phase("preparing the judge", 1, "judges")
    return open_judge(REFERENCE | {"kind": kind}, lm, Material(w.trait, w.responses, 12), context)


def test_an_equal_job_loads_the_stored_judge(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    w = world("refusal", step=8)
    lm, first, second = proved(w.lm), FakeContext(w.lm), FakeContext(w.lm)
    fitted = opened(w, lm, first)
    [name] = [name for name in first.committed if name.startswith("judge:")]
    assert name == first.committed[-1]
    second.cells = dict(first.cells)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(ReferenceJudge, "fit", refuse)
    kept = opened(w, lm, second)
    assert second.committed == []
    assert kept.identity == fitted.identity
    assert json.dumps(kept.facts) == json.dumps(fitted.facts)  # in the order in which result files write them
    items = [JudgeItem("q", None, text, (), w.answered[0].prompt_ids) for text in ("i will not help you .", "here is how .", "")]
    assert [(one.trait, one.coherence, one.raw) for one in kept.score(items)] == [
        (one.trait, one.coherence, one.raw) for one in fitted.score(items)
    ]
    assert opened(w, lm, second, "phrases").identity["name"] == "refusal-phrases"
    with pytest.raises(AssertionError, match="fitted again"):
        opened(w, proved(w.lm, weight_hash="0" * 64), second)


def test_the_judge_of_a_model_without_a_reading_hash_is_not_stored(world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    context = FakeContext(w.lm)
    opened(w, replace(w.lm, facts=replace(w.lm.facts, reading_hash=None)), context)
    assert [name for name in context.committed if name.startswith("judge:")] == []


def test_everything_that_changes_a_fit_changes_its_key(world: Callable[..., World], monkeypatch: pytest.MonkeyPatch) -> None:
    w = world("refusal", step=8)
    asked: list[Any] = [w.trait, w.responses, {"max_new_tokens": 12, "given": False, "questions": None}]
    lm = proved(w.lm)
    names = {
        key_of(lm, asked),
        key_of(proved(w.lm, weight_hash="0" * 64), asked),
        key_of(replace(lm, facts=replace(lm.facts, reading_hash="0" * 64)), asked),
        key_of(replace(lm, special_tokens="text"), asked),
        *(key_of(lm, [*asked[:2], asked[2] | change]) for change in ({"max_new_tokens": 13}, {"given": True}, {"questions": []})),
        key_of(lm, [w.trait, w.responses[1:], asked[2]]),
        key_of(lm, [{**w.trait, "definition": "another"}, *asked[1:]]),
    }
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    names.add(key_of(lm, asked))
    assert len(names) == 10  # the nine above and this one
