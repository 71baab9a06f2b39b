"""Which texts are nearly the same question, and which half of the questions is kept for the test (science: Input).

    same cluster  <=  token Jaccard |a & b| / |a | b| > 0.6, transitively

Knows texts and names of clusters; nothing of traits, files or requests. Everything is deterministic.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

THRESHOLD = 0.6
SHOWN = 60
"""Characters of a text that name its cluster."""

_TOKEN = re.compile(r"\w+")


def tokens(text: str) -> frozenset[str]:
    """The words of a text in lower case; the text itself where it has none."""
    return frozenset(_TOKEN.findall(text.lower())) or frozenset([text.strip()])


def near_duplicates(texts: Sequence[str]) -> list[int]:
    """For each text the index of the first text of its group.

    Only pairs that share one of their rarest tokens are compared: two sets over the threshold share at least `threshold` of the
    larger one, so they meet among the first `n - ceil(threshold n) + 1` tokens of each in one common order (prefix filtering).
    """
    sets = [tokens(text) for text in texts]
    frequency = Counter(token for one in sets for token in one)
    number = {token: i for i, token in enumerate(sorted(frequency, key=lambda token: (-frequency[token], token)))}
    masks = [sum(1 << number[token] for token in one) for one in sets]  # an intersection is one AND of two integers
    parent = list(range(len(sets)))
    seen: dict[int, int] = {}
    by_token: dict[int, list[int]] = {}
    for i, one in enumerate(sets):
        if masks[i] in seen:
            _join(parent, seen[masks[i]], i)
            continue
        seen[masks[i]] = i
        size = len(one)
        rarest = sorted((number[token] for token in one), reverse=True)
        prefix = rarest[: size - math.ceil(THRESHOLD * size - 1e-9) + 1]  # 0.6 x 5 is 3, whatever floats say
        for j in sorted({j for token in prefix for j in by_token.get(token, ())}):
            shared = (masks[i] & masks[j]).bit_count()
            if shared > THRESHOLD * (size + len(sets[j]) - shared) and _root(parent, i) != _root(parent, j):
                _join(parent, j, i)
        for token in prefix:
            by_token.setdefault(token, []).append(i)
    return [_root(parent, i) for i in range(len(sets))]


def fill(texts: Sequence[str], given: Sequence[str | None]) -> list[str]:
    """A cluster for every text: the given one; else that of a near-duplicate which has one; else one named by its group's first text."""
    groups = near_duplicates(texts) if None in given else list(range(len(texts)))
    named: dict[int, str] = {}
    for group, cluster in zip(groups, given, strict=True):
        if cluster is not None:
            named.setdefault(group, cluster)
    taken = set(named.values()) | {cluster for cluster in given if cluster is not None}
    for group in groups:
        if group not in named:
            named[group] = _free(texts[group], taken)
            taken.add(named[group])
    return [named[group] if cluster is None else cluster for group, cluster in zip(groups, given, strict=True)]


def draw(clusters: Iterable[str], seed: int) -> set[str]:
    """The half of the clusters (the larger one when odd) that the test keeps, drawn by seed whatever their order."""
    ordered = sorted(set(clusters), key=lambda cluster: hashlib.sha256(f"{seed}/{cluster}".encode()).digest())
    return set(ordered[: (len(ordered) + 1) // 2])


def _free(text: str, taken: set[str]) -> str:
    name = shown = " ".join(text.split())[:SHOWN].strip() or "?"
    number = 2
    while name in taken:
        name, number = f"{shown} ({number})", number + 1
    return name


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _join(parent: list[int], i: int, j: int) -> None:
    """The smaller index becomes the root, so that a group is named by its first text."""
    one, other = sorted((_root(parent, i), _root(parent, j)))
    parent[other] = one
