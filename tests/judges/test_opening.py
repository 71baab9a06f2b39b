"""Fitting the reference judge reports its progress: a job without progress for too long counts as hung and is killed."""

from collections.abc import Callable

from tests.judges.world import World
from tests.ml.fake_context import FakeContext
from workers.judges.material import Material
from workers.judges.opening import open_judge


def test_fitting_the_reference_judge_reports_every_step(world: Callable[..., World]) -> None:
    w = world("refusal", step=8)
    context = FakeContext(w.lm)
    context.phase("preparing the judge", 1, "judges")
    described = {"name": "reference", "kind": "reference", "model": None, "url": None, "key_env": None, "options": {}}
    judge = open_judge(described, w.lm, Material(w.trait, w.responses, 12), context)
    assert judge.identity["name"] == "reference"
    totals = {name: total for name, total, unit in context.phases if unit == "tokens"}
    assert list(totals) == ["preparing the judge of refusal: answering", "preparing the judge of refusal: reading"]
    for name, total in totals.items():
        done = [done for phase, done in context.reports if phase == name]
        assert done == sorted(done)
        assert len(set(done)) > 4
        assert 0.4 * total < done[-1] <= total
