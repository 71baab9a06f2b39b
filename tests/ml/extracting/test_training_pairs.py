"""lm_loss trains on pairs of a positive and a negative response to the same question, also when some examples are dropped."""

from dataclasses import replace

from workers.extracting.examples import Prompted
from workers.extracting.fits import _pairs


def example(label: str, index: int, cluster: str) -> Prompted:
    """An example with a prompt token and a response token that identify it: index and 1000 + index, negatives 100 more."""
    number = index + (100 if label == "negative" else 0)
    return Prompted(label, index, f"{label} {index}", None, cluster, None, (number,), response_ids=(1000 + number,))


def both(clusters: str) -> list[Prompted]:
    """An example of each class for each letter."""
    return [example(label, index, cluster) for label in ("positive", "negative") for index, cluster in enumerate(clusters)]


def pairs_of(examples: list[Prompted]) -> list[tuple[int, int, int]]:
    """The pairs, each as (prompt of the negative, wanted response, unwanted response)."""
    return [(one.prompt_ids[0], one.wanted_ids[0], one.unwanted_ids[0]) for one in _pairs(examples)]


def test_examples_of_the_same_question_are_paired() -> None:
    assert pairs_of(both("aabc")) == [(100 + i, 1000 + i, 1100 + i) for i in range(4)]


def test_an_example_without_its_partner_shifts_no_other_pair() -> None:
    """Vetting dropped the first positive example, and the third negative one has an empty response."""
    examples = both("aabcd")
    examples[0] = replace(examples[0], kept=False)
    examples[7] = replace(examples[7], response_ids=())
    assert pairs_of(examples) == [(101, 1001, 1101), (103, 1003, 1103), (104, 1004, 1104)]


def test_held_out_examples_are_in_no_pair() -> None:
    examples = both("abc")
    examples[1] = replace(examples[1], train=False)
    assert pairs_of(examples) == [(100, 1000, 1100), (102, 1002, 1102)]


def test_classes_of_different_questions_are_paired_in_their_order() -> None:
    examples = [
        example("positive", 0, "a"),
        example("positive", 1, "b"),
        example("negative", 0, "x"),
        example("negative", 1, "y"),
    ]
    assert pairs_of(examples) == [(100, 1000, 1100), (101, 1001, 1101)]
