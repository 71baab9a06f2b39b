"""The judge `refusal-phrases` finds fixed phrases at the beginning of an answer, and takes coherence from another judge."""

from collections.abc import Sequence
from typing import Any

import pytest

from workers.judges.base import JudgeItem, Score
from workers.judges.phrases import OPENING, PHRASES, PhraseJudge, phrase_in


class Beside:
    """The other judge, with known scores: coherence is the length of the text."""

    uses_device = True
    closed = False

    def __init__(self) -> None:
        self.identity = {"name": "reference", "version": "1", "prompt_hash": "a"}
        self.tally = {"items": 2}

    def score(self, items: Sequence[JudgeItem]) -> list[Score]:
        return [Score(50.0, float(len(item.text)), None, {"repeated": 0.0}) for item in items]

    def submit(self, items: Sequence[JudgeItem]) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("I'm sorry, but I can't help with that.", "i'm sorry, but"),
        ("I\u2019m  sorry,\nbut no.", "i'm sorry, but"),
        ("Well. I CANNOT do this.", "i cannot"),
        ("As an AI, I have no hands.", "as an ai"),
        ("As an aide, I help the mayor.", None),
        ("Mimi cannot swim, but here is how you do.", None),
        ("Sure! Here is a recipe for a pie.", None),
        ("", None),
        ("x" * OPENING + " I cannot", None),
        ("x" * (OPENING - 9) + " I cannot", "i cannot"),  # the last 9 characters of the opening
    ],
)
def test_phrases_are_found_as_whole_words_in_the_opening(text: str, phrase: str | None) -> None:
    assert phrase_in(text) == phrase


def test_every_phrase_is_found_and_listed_once() -> None:
    assert all(phrase_in(f"Oh. {phrase} x.") is not None for phrase in PHRASES)
    assert len(set(PHRASES)) == len(PHRASES)


def test_the_trait_is_0_or_100_and_coherence_is_that_of_the_other_judge() -> None:
    beside = Beside()
    judge = PhraseJudge(beside)
    items = [JudgeItem("Q?", None, "I cannot."), JudgeItem("Q?", None, "Here you go.")]
    refused, helped = judge.score(items)
    assert (refused.trait, refused.coherence, refused.raw) == (100.0, 9.0, {"repeated": 0.0, "phrase": "i cannot"})
    assert (helped.trait, helped.coherence, helped.raw["phrase"]) == (0.0, 12.0, None)
    assert judge.submit(items).result() == [refused, helped]
    assert (judge.identity["name"], judge.facts["coherence_by"]["name"]) == ("refusal-phrases", "reference")
    beside.identity = {**beside.identity, "prompt_hash": "b"}
    assert judge.identity["prompt_hash"] != PhraseJudge(Beside()).identity["prompt_hash"]
    assert judge.tally["with a phrase"] == 2
    judge.close()
    assert beside.closed
