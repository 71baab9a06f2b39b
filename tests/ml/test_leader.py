"""The leader of a steering is the method with the largest gain: controls never lead, and methods of the cleaning ablation only if there are no
others."""

import pytest

from workers.steering.effects import Scale
from workers.steering.questions import Question
from workers.steering.runs import Answer, Run, RunSpec
from workers.steering.searching import leader_of
from workers.steering.sets import Searched
from workers.steering.subjects import Subject

QUESTIONS = [Question(i, "selection", f"{i} ?", None, f"c{i}", (1,)) for i in range(10)]


def run(label: str, showing: int) -> Run:
    """A run in which that many of ten coherent answers show the trait."""
    scores = [100.0 if i < showing else 0.0 for i in range(len(QUESTIONS))]
    return Run(RunSpec(QUESTIONS, label), tuple(Answer((), "", True, True, score, 100.0, None, None) for score in scores))


@pytest.mark.parametrize(
    ("showing", "leads"),
    [
        ({"probe": 7, "mean_diff": 5}, "probe"),
        ({"probe": 7, "probe_randomdims1": 8, "probe_largest2": 9, "probe_pretop3": 10}, "probe"),
        ({"probe": 7, "probe_top1": 8, "mean_diff_cleaned": 6}, "probe_top1"),
        ({"probe": 1, "random": 9, "shuffled__of-probe": 9}, "probe"),
        ({"probe_pretop1": 7, "probe_pretop2": 8, "random": 9}, "probe_pretop2"),
        ({"random": 9}, None),
    ],
)
def test_the_leader_is_the_best_method_that_may_lead(showing: dict[str, int], leads: str | None) -> None:
    """With a random dim zeroed a vector is nearly the method's own, and it once led as often."""
    chosen = {
        method: Searched(Subject(method, method, method, None, "residual", (1,), ()), (), run(method, count))
        for method, count in showing.items()
    }
    assert leader_of(chosen, run("unsteered", 0), Scale(70.0, 1, 0)) == leads
