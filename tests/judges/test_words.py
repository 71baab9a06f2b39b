"""Words of a text, the share of repeated n-grams, and the functions that make meaningless texts."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.judges.words import looped, pieced, repeated_share, shuffled, words_of

TOKENS = st.lists(st.integers(0, 9), min_size=1, max_size=60)


def test_words_are_runs_of_letters_single_marks_and_single_ideograms() -> None:
    assert words_of("I can't — 3 Äpfel! 漢字abc") == ["i", "can", "'", "t", "—", "3", "äpfel", "!", "漢", "字", "abc"]
    assert words_of("  \n") == []


@given(TOKENS, st.integers(1, 5))
def test_the_repeated_share_counts_every_occurrence_of_a_repeated_gram(tokens: list[int], n: int) -> None:
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    again = [gram for gram in grams if grams.count(gram) > 1]
    assert repeated_share(tokens, n) == (len(again) / len(grams) if grams else 0)


@pytest.mark.parametrize(
    ("text", "share"), [("a b c d e f g h", 0), ("a b c d e a b c d e", 4 / 7), ("x " * 20, 1), ("a b c", 0)]
)
def test_the_repeated_share_of_examples_computed_by_hand(text: str, share: float) -> None:
    """The second text has the 4-grams abcd bcde cdea deab eabc abcd bcde: two occur twice, so 4 of 7 are repeated."""
    assert repeated_share(text.split()) == pytest.approx(share)


@given(TOKENS, st.integers(0, 99))
def test_shuffling_keeps_the_tokens_and_looping_keeps_the_length(tokens: list[int], seed: int) -> None:
    assert Counter(shuffled(tokens, random.Random(seed))) == Counter(tokens)
    loop = looped(tokens, random.Random(seed))
    assert len(tokens) <= len(loop) <= max(len(tokens), 16)
    assert set(loop) <= set(tokens)
    assert any(loop == (loop[:k] * len(loop))[: len(loop)] for k in {1, 2, 3, 5, 8, len(tokens)})


@given(st.lists(TOKENS, min_size=1, max_size=4), st.integers(0, 99))
def test_pieces_come_from_the_texts(texts: list[list[int]], seed: int) -> None:
    made = pieced(texts, random.Random(seed))
    assert set(made) <= {token for text in texts for token in text}
    assert 20 <= len(made) < 25
