"""Splits texts into words, and makes meaningless texts: shuffled, looped, pieced together. Pure functions; all randomness is seeded."""

import random
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

from terms.scripts import IDEOGRAMS

Token = TypeVar("Token", bound=Hashable)
_WORD = re.compile(rf"[{IDEOGRAMS}]|[^\W{IDEOGRAMS}]+|[^\w\s]")
LOOPS = (1, 2, 3, 5, 8)
"""Lengths in tokens of the piece that a looped text repeats."""


def words_of(text: str) -> list[str]:
    """Returns lower-case words and punctuation marks. Each ideogram and kana counts as a word, since no spaces separate them."""
    return _WORD.findall(text.lower())


def repeated_share(tokens: Sequence[Token], n: int = 4) -> float:
    """Returns the share of the n-grams that occur more than once in the text: 0 for a text that never repeats n tokens, 1 for any loop.

    All occurrences count, including the first: a sentence repeated five times is repetition from the beginning.
    """
    grams = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    total = sum(grams.values())
    return sum(count for count in grams.values() if count > 1) / total if total else 0.0


def shuffled(tokens: Sequence[Token], rng: random.Random) -> list[Token]:
    """Returns the tokens in a random order."""
    out = list(tokens)
    rng.shuffle(out)
    return out


def looped(tokens: Sequence[Token], rng: random.Random) -> list[Token]:
    """Returns a few neighbouring tokens, repeated at least twice and up to the text's length. `tokens` must not be empty."""
    length = rng.choice(LOOPS)
    start = rng.randrange(max(1, len(tokens) - length + 1))
    piece = list(tokens[start : start + length])
    total = max(len(tokens), 2 * len(piece))
    return (piece * (total // len(piece) + 1))[:total]


def pieced(texts: Sequence[Sequence[Token]], rng: random.Random, length: int = 20) -> list[Token]:
    """Returns at least `length` tokens: pieces of up to five tokens in a row, each from a text drawn at random. No text may be empty."""
    out: list[Token] = []
    while len(out) < length:
        text = rng.choice(texts)
        start = rng.randrange(len(text))
        out += text[start : start + rng.randint(2, 5)]
    return out
