"""Near-duplicates are grouped exactly, and for the largest upload of any kind of text in seconds and bounded memory."""

import itertools
import random
import string
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.traits.clusters import fill, near_duplicates, tokens
from tests.yardstick import slowness

TEXTS = 4000
SIZE = 4_900_000
"""Characters: just below what one trait may hold."""
SECONDS = 12.0
"""Of CPU; the slowest kind takes 2.5 s on an idle core of the machine of tests/yardstick.py."""
LETTERS = [letter for letter in map(chr, range(0x400, 0x800)) if letter.isalpha() and letter.lower() == letter]


def unique_words() -> list[str]:
    return [" ".join(f"{i:04x}{word:03x}" for word in range(SIZE // TEXTS // 8)) for i in range(TEXTS)]


def short_unique_words() -> list[str]:
    words = map("".join, itertools.product(string.ascii_lowercase + string.digits, repeat=4))
    return [" ".join(itertools.islice(words, SIZE // TEXTS // 5)) for _ in range(TEXTS)]


def common_words() -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.sample(LETTERS[:600], 400)) for _ in range(TEXTS)]


def near_the_threshold() -> list[str]:
    """Every pair shares 300 words of about 410 and 490 in all."""
    chance = random.Random(0)
    return [" ".join([*LETTERS[:300], *chance.sample(LETTERS[300:], 130)]) for _ in range(TEXTS)]


def all_alike() -> list[str]:
    return [" ".join(LETTERS[:400]) + f" u{i}" for i in range(TEXTS)]


def words_of_an_eighth() -> list[str]:
    """Each word in as many texts as one may have that is not yet common."""
    chance = random.Random(0)
    words = [one + other for one, other in itertools.product(LETTERS[:60], string.ascii_lowercase)]
    return [" ".join(chance.sample(words, len(words) // 8)) for _ in range(TEXTS)]


def one_beginning() -> list[str]:
    """Clusters are named by their first 60 characters, which are the same here."""
    first = "the same first words of every text in this trait, all sixty of them"
    return [" ".join([first, *(f"w{i}x{word}" for word in range(40))]) for i in range(TEXTS)]


KINDS: list[Callable[[], list[str]]] = [
    unique_words, short_unique_words, common_words, near_the_threshold, all_alike, words_of_an_eighth, one_beginning,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_largest_upload_is_grouped_in_seconds(kind: Callable[[], list[str]]) -> None:
    texts = kind()
    assert sum(map(len, texts)) <= 5_000_000
    began = time.process_time()
    found = fill(texts, [None] * len(texts))
    taken = time.process_time() - began
    assert taken < SECONDS * slowness(), f"{taken:.0f} s of CPU"
    together = kind in (common_words, near_the_threshold, all_alike)
    assert len(set(found)) == (1 if together else TEXTS)


def test_memory_follows_the_size_of_the_upload_and_not_its_vocabulary() -> None:
    """In a process of its own, as the peak of a process never falls."""
    code = """
        import resource
        from tests.api.test_traits_clusters import short_unique_words, unique_words
        from app.traits.clusters import near_duplicates
        texts = [unique_words(), short_unique_words()]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for one in texts:
            near_duplicates(one)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 300, f"{run.stdout.strip()} MiB for 5 MB of text"


def naive(texts: list[str]) -> list[int]:
    """The first text of each one's group: every pair compared, until nothing changes."""
    group = list(range(len(texts)))
    words = [tokens(text) for text in texts]
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(texts)), 2)
        if 5 * len(words[i] & words[j]) > 3 * len(words[i] | words[j])
    ]
    while any(group[i] != group[j] for i, j in pairs):
        for i, j in pairs:
            group[i] = group[j] = min(group[i], group[j])
    return group


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 40), st.integers(1, 60))
def test_groups_are_those_of_comparing_every_pair(seed: int, count: int, longest: int, vocabulary: int) -> None:
    """Few words and many, so that each is rare in one example and common in another; copies with a few words changed lie at the threshold."""
    chance = random.Random(seed)
    words = [f"w{i}" for i in range(vocabulary)]
    texts: list[str] = []
    for _ in range(count):
        one = chance.sample(words, min(len(words), chance.randint(1, longest)))
        if texts and chance.random() < 0.6:
            one = chance.choice(texts).split()
            for _ in range(chance.randint(0, 1 + len(one) // 3)):
                one[chance.randrange(len(one))] = chance.choice(words)
        texts.append(" ".join(one))
    assert near_duplicates(texts) == naive(texts)


def test_numbers_in_names_of_clusters_skip_names_that_are_given() -> None:
    texts = [f"{'a ' * 40}{i}{i} {i}b {i}c" for i in range(4)]
    shown = ("a " * 40)[:60].strip()
    assert fill(["z", *texts], [f"{shown} (3)", *[None] * 4])[1:] == [shown, f"{shown} (2)", f"{shown} (4)", f"{shown} (5)"]


def test_two_japanese_questions_that_differ_by_a_character_are_one_cluster() -> None:
    """Japanese and Chinese write no spaces: a sentence would be one word, and any two of them different."""
    texts = [
        "\u660e\u65e5\u306e\u5929\u6c17\u306f\u3069\u3046\u3067\u3059\u304b",
        "\u4eca\u65e5\u306e\u5929\u6c17\u306f\u3069\u3046\u3067\u3059\u304b",
        "\u732b\u304c\u597d\u304d\u306a\u7406\u7531\u3092\u6559\u3048\u3066",
    ]
    first, second, third = near_duplicates(texts)
    assert first == second != third
