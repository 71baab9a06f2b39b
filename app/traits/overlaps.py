"""Counts the words shared by every two of many texts, exactly and in bounded memory.

    rare words    in at most an eighth of the texts: lists of the texts that contain them, counted text by text
    common words  in more texts: columns of zeros and ones, multiplied by blocks of rows

For n texts with T words in all, rare words cost at most n T / 16 additions and common words 4 n T multiplications in a matrix product (the
server limits n). Memory is linear in T, since pairs are not stored. Works on numbers of words, without thresholds.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Rows multiplied at a time."""
COMMON = 8
"""A word is common if more than one in this many texts contains it."""

Integers = NDArray[np.int64]


def overlaps(sets: Sequence[Integers], words: int) -> Iterator[Integers]:
    """Yields for each set of word numbers the number of words that it shares with each earlier set. `words`: all numbers are below it."""
    sizes = np.array([word_set.size for word_set in sets], np.int64)
    flat = np.concatenate(sets) if sets else np.empty(0, np.int64)
    frequency, most = np.bincount(flat, minlength=words), max(1, len(sets) // COMMON)
    common, rare = np.flatnonzero(frequency > most), (frequency > 1) & (frequency <= most)
    columns = _columns(flat, np.repeat(np.arange(len(sets)), sizes), common, words, len(sets))
    # the texts of each rare word, as consecutive lists; `ends` advances as texts become earlier texts
    starts = np.concatenate([[0], np.cumsum(np.where(rare, frequency, 0))])
    ends = starts[:-1].copy()
    texts = np.empty(int(starts[-1]), np.int64)
    for start in range(0, len(sets), BLOCK):
        last = min(start + BLOCK, len(sets))
        product = columns[start:last] @ columns[:last].T if common.size else None
        for i in range(start, last):
            own = sets[i][rare[sets[i]]]
            lists = [texts[a:b] for a, b in zip(starts[own].tolist(), ends[own].tolist(), strict=True) if b > a]
            rare_shared = np.bincount(np.concatenate(lists), minlength=i) if lists else np.zeros(i, np.int64)
            yield rare_shared if product is None else rare_shared + product[i - start, :i].astype(np.int64)
            texts[ends[own]] = i
            ends[own] += 1


def _columns(flat: Integers, rows: Integers, common: Integers, words: int, count: int) -> NDArray[np.float32]:
    """Returns [text, common word]: 1 if the text contains the word. Sums of ones are exact in float32 up to 2^24."""
    place = np.full(words, -1, np.int64)
    place[common] = np.arange(common.size)
    held = place[flat]
    columns = np.zeros((count, common.size), np.float32)
    columns[rows[held >= 0], held[held >= 0]] = 1
    return columns
