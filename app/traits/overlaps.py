"""How many words every two of many texts share, exactly, in bounded memory.

    rare words    of at most an eighth of the texts: lists of the texts that hold them, counted text by text
    common words  of more: columns of zeros and ones, multiplied by blocks of rows

With n texts that hold T words in all, the rare words cost at most n T / 16 additions and the common ones 4 n T multiplications of a matrix
product (n is a limit of the server), and memory is linear in T: there is no list of pairs. Knows numbers of words; nothing of thresholds.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Rows multiplied at a time."""
COMMON = 8
"""A word is common when more than one text in so many holds it."""

Integers = NDArray[np.int64]


def overlaps(sets: Sequence[Integers], words: int) -> Iterator[Integers]:
    """For each set of word numbers, how many of them each earlier set holds too. `words`: the numbers are below it."""
    sizes = np.array([one.size for one in sets], np.int64)
    flat = np.concatenate(sets) if sets else np.empty(0, np.int64)
    frequency, most = np.bincount(flat, minlength=words), max(1, len(sets) // COMMON)
    common, rare = np.flatnonzero(frequency > most), (frequency > 1) & (frequency <= most)
    columns = _columns(flat, np.repeat(np.arange(len(sets)), sizes), common, words, len(sets))
    # the texts of each rare word, one list after the other; `ends` moves on as texts come to be earlier ones
    starts = np.concatenate([[0], np.cumsum(np.where(rare, frequency, 0))])
    ends = starts[:-1].copy()
    texts = np.empty(int(starts[-1]), np.int64)
    for start in range(0, len(sets), BLOCK):
        last = min(start + BLOCK, len(sets))
        product = columns[start:last] @ columns[:last].T if common.size else None
        for i in range(start, last):
            own = sets[i][rare[sets[i]]]
            lists = [texts[a:b] for a, b in zip(starts[own].tolist(), ends[own].tolist(), strict=True) if b > a]
            found = np.bincount(np.concatenate(lists), minlength=i) if lists else np.zeros(i, np.int64)
            yield found if product is None else found + product[i - start, :i].astype(np.int64)
            texts[ends[own]] = i
            ends[own] += 1


def _columns(flat: Integers, rows: Integers, common: Integers, words: int, count: int) -> NDArray[np.float32]:
    """[text, common word]: 1 where the text holds the word. Sums of ones are exact in float32 up to 2^24."""
    place = np.full(words, -1, np.int64)
    place[common] = np.arange(common.size)
    held = place[flat]
    columns = np.zeros((count, common.size), np.float32)
    columns[rows[held >= 0], held[held >= 0]] = 1
    return columns
