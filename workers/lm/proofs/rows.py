"""Rows of token ids for the proofs: the same rows each time, without special tokens."""

from collections.abc import Sequence

import torch

from workers.lm.model import LanguageModel


def random_rows(lm: LanguageModel, lengths: Sequence[int], *, seed: int) -> list[list[int]]:
    """One random row of each length, the same on every machine; all are shortened alike where together they would not fit the context."""
    special = set(lm.tokenizer.all_special_ids)
    ordinary = [i for i in range(lm.vocab_size) if i not in special] or list(range(lm.vocab_size))
    share = min(1.0, lm.context_length / (sum(lengths) + 1))
    draw = torch.Generator().manual_seed(seed)
    return [
        [ordinary[int(i)] for i in torch.randint(len(ordinary), (max(1, int(length * share)),), generator=draw)]
        for length in lengths
    ]
