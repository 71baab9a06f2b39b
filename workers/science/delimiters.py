"""Locates a row's first delimiter, because some models put their massive activations there (science.md, 2.2, location)."""

import string
import unicodedata
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


class Delimiters:
    """Recognises the delimiter tokens of one tokenizer; each id's text is looked up once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bool] = {}

    def first_after_start(self, ids: Sequence[int]) -> int | None:
        """The position of the first delimiter that is not the first token, or None."""
        return next((position for position in range(1, len(ids)) if self._is_delimiter(ids[position])), None)

    def _is_delimiter(self, token: int) -> bool:
        if token not in self._known:
            text = self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
            self._known[token] = is_delimiter_text(str(text))
        return self._known[token]


def is_delimiter_text(text: str) -> bool:
    """Whether `text`, stripped of white space, is empty or punctuation only (ASCII punctuation or Unicode's categories P*)."""
    return all(mark in string.punctuation or unicodedata.category(mark).startswith("P") for mark in text.strip())
