"""The third class of the trait classifier: texts that show neither class, made of the labelled responses or of other traits.

Each response shuffled, and looped twice; as many pieced together of several as half of them, the empty text, and other traits' texts. A spoilt
response keeps its cluster, so that whoever holds the cluster out holds it out too.
"""

import random
from collections.abc import Sequence

from workers.judges.trait_classifier import NEITHER, Example
from workers.judges.words import looped, pieced, shuffled, words_of

EMPTY = 4


def neither_of(said: Sequence[Example], other_texts: Sequence[str], *, seed: int) -> list[Example]:
    """Examples of neither class. Equal arguments give equal ones."""
    rng = random.Random(seed)
    found = [Example("", "", NEITHER, "")] * EMPTY
    for one in said:
        for spoil in (shuffled, looped, looped):
            found.append(Example(" ".join(spoil(words_of(one.text), rng)), one.prompt, NEITHER, one.cluster))
    texts = [words_of(one.text) for one in said]
    found += [Example(" ".join(pieced(texts, rng)), "", NEITHER, "") for _ in range(len(said) // 2)]
    return found + [Example(text, "", NEITHER, "") for text in other_texts]
