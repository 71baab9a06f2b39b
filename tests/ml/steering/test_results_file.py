"""results.jsonl holds gains with the sign that summary.json gives them."""

import json
from typing import Any, cast

import pytest

from terms.specs import SteeringSpec
from workers.steering.effects import Scoring, effect_of
from workers.steering.questions import Question
from workers.steering.results_file import results_lines
from workers.steering.runs import Answer, Run, RunSpec
from workers.steering.subjects import Subject

QUESTIONS = [Question(i, "test", f"{i} ?", None, f"c{i}", (1,)) for i in range(10)]


def run(label: str, score: float, subject: Subject | None = None) -> Run:
    answers = tuple(Answer((1,), "", True, True, score, 100.0, None, {}) for _ in QUESTIONS)
    return Run(RunSpec(QUESTIONS, label, subject=subject), answers)


@pytest.mark.parametrize(("direction", "sign"), [("positive", 1), ("negative", -1)])
def test_a_gain_is_in_the_requested_direction(direction: str, sign: int) -> None:
    base, steered = run("unsteered", 80.0), run("steered", 20.0, Subject("a", "a", "probe", None, "residual", (1,), ()))
    spec = cast("SteeringSpec", {"trait": {"name": "refusal"}, "model": "m"})
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in results_lines(spec, [steered], base, {"name": "reference"}, direction).splitlines()
    ]
    gain = effect_of(steered, base, Scoring(70.0, sign, 0))["delta"]
    assert [line["result"]["delta"] for line in lines[1:]] == [0.0, gain]
    assert gain == -60.0 * sign
