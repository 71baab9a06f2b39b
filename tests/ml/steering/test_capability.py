"""Which answers to capability questions count as right, and the share of right answers in a run."""

import pytest

from workers.steering.effects import answered_right
from workers.steering.questions import Question
from workers.steering.runs import Answer, Run, RunSpec


def run(*pairs: tuple[str, str | None]) -> Run:
    """A run with these (text, expected answer) pairs."""
    questions = [Question(i, "capability", "q", None, "c", (1,), expected) for i, (_, expected) in enumerate(pairs)]
    answers = tuple(Answer((1,), text, True, True, None, None, None, {}) for text, _ in pairs)
    return Run(RunSpec(questions, "unsteered"), answers)


@pytest.mark.parametrize(
    ("text", "expected", "right"),
    [
        ("two plus two is four.", "four", True),
        ("FOUR!", "four", True),
        ("fourteen", "four", False),
        ("it is 3.5 (about)", "3.5", True),
        ("it is 3x5", "3.5", False),
        ("the answer is New York", "new york", True),
        ("", "four", False),
        ("c++ it is", "c++", True),
    ],
)
def test_an_answer_is_right_when_it_contains_the_expected_words_whole(text: str, expected: str, right: bool) -> None:
    assert answered_right(run((text, expected))) == float(right)


def test_the_share_counts_only_questions_with_an_expected_answer() -> None:
    assert answered_right(run(("four", "four"), ("five", "four"), ("anything", None))) == 0.5
    assert answered_right(run(("anything", None))) is None
