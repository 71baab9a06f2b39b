"""Groups texts that are nearly the same question, and splits questions for the test (docs/science.md, 3.1).

    same cluster  <=  token Jaccard |a & b| / |a | b| > 0.6, transitively

Pure functions of texts and names of clusters: equal arguments give equal results.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.traits.overlaps import overlaps
from terms.scripts import IDEOGRAMS

THRESHOLD = 0.6
SHOWN = 60
"""Characters of a text used as the name of its cluster."""

FEW = 8
"""Smallest number of different texts among which shared wording is searched for."""

_TOKEN = re.compile(rf"[{IDEOGRAMS}]|[^\W{IDEOGRAMS}]+")


def tokens(text: str) -> frozenset[str]:
    """Returns the words of a text in lower case; the text itself if it has no words.

    A word is a run of letters, digits and `_`, or one character of a script that writes no spaces between words.
    """
    return frozenset(_TOKEN.findall(text.lower())) or frozenset([text.strip()])


def shared_wording(texts: Sequence[str]) -> frozenset[str]:
    """Returns the words of a template shared by most texts, if it dominates the comparison; otherwise no words.

    W: the words that occur in at least half of the different texts. A text of c words of W and r other words is hidden when c / (c + 2 r) >
    0.6: two such texts that share nothing but W would count as near-duplicates. W is returned when more than half of the texts are hidden.
    """
    different = set(map(tokens, texts))
    if len(different) < FEW:
        return frozenset()
    counts = Counter(token for words in different for token in words)
    wording = frozenset(token for token, count in counts.items() if 2 * count >= len(different))
    hidden = sum((c := len(words & wording)) > THRESHOLD * (2 * len(words) - c) for words in different)
    return wording if 2 * hidden > len(different) else frozenset()


def near_duplicates(texts: Sequence[str], ignored: frozenset[str] = frozenset()) -> list[int]:
    """Returns for each text the index of the first text of its group, ignoring the `ignored` words; equal to comparing every pair."""
    numbers: dict[str, int] = {}
    first: dict[bytes, int] = {}
    sets, earliest = [], []
    for i, text in enumerate(texts):
        word_set = np.unique(
            np.array([numbers.setdefault(token, len(numbers)) for token in tokens(text) - ignored or tokens(text)], np.int64)
        )
        earliest.append(first.setdefault(word_set.tobytes(), i))  # equal sets are compared only once
        if earliest[i] == i:
            sets.append(word_set)
    different = [i for i, original in enumerate(earliest) if i == original]
    groups = dict(zip(different, _grouped(sets, len(numbers)), strict=True))
    return [different[groups[original]] for original in earliest]


def _grouped(sets: Sequence[NDArray[np.int64]], words: int) -> list[int]:
    """Returns for each set of word numbers the index of the first set of its group. `words`: how many different words there are."""
    sizes = np.array([word_set.size for word_set in sets], np.int64)
    group = np.arange(len(sets))
    for i, shared in enumerate(overlaps(sets, words)):
        near = group[:i][shared > THRESHOLD * (sizes[i] + sizes[:i] - shared)]
        if near.size:
            joined, group[i] = np.unique(near), near.min()
            if joined.size > 1:
                group[:i][np.isin(group[:i], joined)] = group[i]
    return [int(index) for index in group]


def fill(texts: Sequence[str], given: Sequence[str | None], ignored: frozenset[str] = frozenset()) -> list[str]:
    """Returns a cluster for every text: the given cluster, else that of a near-duplicate, else a new one named after the group's first text."""
    groups = near_duplicates(texts, ignored) if None in given else list(range(len(texts)))
    named: dict[int, str] = {}
    for group, cluster in zip(groups, given, strict=True):
        if cluster is not None:
            named.setdefault(group, cluster)
    taken = set(named.values()) | {cluster for cluster in given if cluster is not None}
    used: dict[str, int] = {}
    for group in groups:
        if group not in named:
            named[group] = _free(texts[group], taken, used)
            taken.add(named[group])
    return [named[group] if cluster is None else cluster for group, cluster in zip(groups, given, strict=True)]


def draw(clusters: Iterable[str], seed: int) -> set[str]:
    """Returns the half of the clusters that the test keeps (rounded up), drawn by seed, independent of their order."""
    ordered = sorted(set(clusters), key=lambda cluster: hashlib.sha256(f"{seed}/{cluster}".encode()).digest())
    return set(ordered[: (len(ordered) + 1) // 2])


def _free(text: str, taken: set[str], used: dict[str, int]) -> str:
    """Returns a name for the text's cluster: its beginning, numbered if that name is taken. `used`: the last number tried for each beginning."""
    name = shown = " ".join(text.split())[:SHOWN].strip() or "?"
    while name in taken:
        used[shown] = used.get(shown, 1) + 1
        name = f"{shown} ({used[shown]})"
    return name
