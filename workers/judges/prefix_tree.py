"""Computes the exact probability that a model's whole reply is one of some words, also where a tokenizer splits the words.

    P(word) = prod_t p(token_t | prompt, tokens before) x sum over end tokens of p(end | prompt, word)

Without the end tokens, "8" would be as likely as all replies that begin with it. Words share their beginnings: only words that are not the
beginning of another word are run, all in one batch after a prompt that is computed once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from workers.lm.likelihood import SharedPrompt
from workers.lm.model import LanguageModel

Ids = tuple[int, ...]


class PrefixTree:
    """Words by their token ids, and the ids that end a reply."""

    def __init__(self, words: Mapping[str, Sequence[int]], end_ids: Iterable[int]) -> None:
        self._words = {word: tuple(ids) for word, ids in words.items()}
        self._ends = sorted(end_ids)
        everything = sorted(set(self._words.values()))
        self._rows = [ids for ids in everything if not any(ids != other and other[: len(ids)] == ids for other in everything)]
        self._row_of = {
            word: next(row for row, other in enumerate(self._rows) if other[: len(ids)] == ids)
            for word, ids in self._words.items()
        }
        self._columns = sorted({token for ids in everything for token in ids} | set(self._ends))
        self._column = {token: column for column, token in enumerate(self._columns)}

    @property
    def splits(self) -> bool:
        """Whether any word takes more than one token. If not, the next token's distribution is enough."""
        return any(len(ids) > 1 for ids in self._words.values())

    @property
    def longest(self) -> int:
        """The number of tokens in the longest word."""
        return max(map(len, self._words.values()))

    def probabilities(self, lm: LanguageModel, prompt: Sequence[int]) -> dict[str, float]:
        """The probability of each word as the whole reply to the prompt's ids. Raises ModelFault prompt_too_long."""
        rows = SharedPrompt(lm, prompt).log_probabilities(self._rows, self._columns)
        ends = torch.tensor([self._column[token] for token in self._ends])
        probabilities = {}
        for word, ids in self._words.items():
            row_TC = rows[self._row_of[word]]
            steps = math.fsum(float(row_TC[place, self._column[token]]) for place, token in enumerate(ids))
            probabilities[word] = math.exp(steps + float(torch.logsumexp(row_TC[len(ids), ends], 0)))
        return probabilities
