"""Encodes a prompt so that special-token names in a user's text are plain text: `<|im_start|>` opens no turn there.

The chat template's own special tokens stay tokens. The prompt is encoded in one pass, so a text without such names gets its usual ids.
"""

import re
import secrets
from collections.abc import Callable
from weakref import WeakKeyDictionary

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from workers.lm.errors import ModelFault

Hide = Callable[[str], str]
_OPEN, _CLOSE = f"\ue000{secrets.randbelow(10**20):020}", "\ue001"  # digits: a template may change the case of a text
_known: WeakKeyDictionary[PreTrainedTokenizerBase, "Verbatim"] = WeakKeyDictionary()


def verbatim(tokenizer: PreTrainedTokenizerBase) -> "Verbatim":
    """The tokenizer's `Verbatim`, made on first use. Raises ModelFault special_tokens_not_text."""
    if tokenizer not in _known:
        _known[tokenizer] = Verbatim(tokenizer)
    return _known[tokenizer]


class Verbatim:
    """A copy of the tokenizer's backend that recognises special tokens only by random stand-ins, which do not occur in users' texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelFault(
                "special_tokens_not_text",
                f"{type(tokenizer).__name__} cannot encode the names of special tokens as text: it has no tokenizer.json. "
                'Leave /special_tokens out, or set it to "markup".',
            )
        special = sorted(
            ((i, token) for i, token in tokenizer.added_tokens_decoder.items() if token.special), key=lambda pair: pair[0]
        )
        self._names = [token.content for _, token in special]
        longest_first = sorted(filter(None, self._names), key=lambda name: -len(name))
        self._name = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._hidden = re.compile(f"{_OPEN}h([0-9]+){_CLOSE}", re.IGNORECASE)
        self._backend = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True
        self._backend.add_tokens([_stand_in(place, token) for place, (_, token) in enumerate(special)])
        self._ids = {self._backend.token_to_id(_named("s", place)): i for place, (i, _) in enumerate(special)}

    def encode(self, write: Callable[[Hide], str], *, ends: bool = False) -> list[int]:
        """The ids of `write(hide)`, which passes each user's text through `hide`; `ends` adds the tokenizer's start and end tokens."""
        places = {name: place for place, name in enumerate(self._names)}
        written = write(lambda text: self._name.sub(lambda match: _named("h", places[match[0]]), text))
        written = self._name.sub(lambda match: _named("s", places[match[0]]), written)
        written = self._hidden.sub(lambda match: self._names[int(match[1])], written)
        return [self._ids.get(i, i) for i in self._backend.encode(written, add_special_tokens=ends).ids]


def _named(kind: str, place: int) -> str:
    return f"{_OPEN}{kind}{place}{_CLOSE}"


def _stand_in(place: int, token: AddedToken) -> AddedToken:
    flags = {name: getattr(token, name) for name in ("single_word", "lstrip", "rstrip")}
    return AddedToken(_named("s", place), special=False, normalized=False, **flags)
