"""A judge that takes long to prepare is seen to move: what stands still for longer than a phase may is taken for hung and killed."""

from collections.abc import Callable

from tests.judges.conftest import World
from tests.ml.fake_context import FakeContext
from workers.judges.opening import open_judge


def test_fitting_the_reference_judge_reports_every_step(world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    context = FakeContext(w.lm)
    context.phase("preparing the judge", 1, "judges")
    described = {"name": "reference", "kind": "reference", "model": None, "url": None, "key_env": None, "options": {}}
    judge = open_judge(described, w.lm, w.trait, w.responses, max_new_tokens=12, context=context)
    assert judge.identity["name"] == "reference"
    assert len(context.reports) > 12  # each token of the answers that are elicited, each batch that is read
    assert {name for name, _ in context.reports} == {"preparing the judge"}
