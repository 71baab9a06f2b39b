"""Which finished parts of an earlier steering a retried one takes."""

import pytest

from workers.job import HOW_COMPUTED
from workers.steering.retries import may_take, texts_cell

SPEC = {"model": "m", "judge": {"provider": "reference"}, "coherence_threshold": 70, "layers": [3]}


@pytest.mark.parametrize("cell", [texts_cell("a"), *HOW_COMPUTED])
def test_another_judge_leaves_the_texts_and_how_they_were_computed(cell: str) -> None:
    """Without the second, texts in bfloat16 would be continued in float32."""
    assert may_take(cell, earlier=SPEC, spec={**SPEC, "judge": {"provider": "openai"}, "coherence_threshold": 50})
    assert not may_take(cell, earlier=SPEC, spec={**SPEC, "layers": [4]})


def test_scores_are_taken_only_for_an_equal_spec() -> None:
    assert may_take("run/a", earlier=SPEC, spec=dict(SPEC))
    assert not may_take("run/a", earlier=SPEC, spec={**SPEC, "judge": {"provider": "openai"}})
