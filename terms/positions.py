"""Parses positions: `frame[slice]`, such as `response[:5]`. The same grammar is used in requests, file keys and exports
(docs/science.md, 3.2).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

GRAMMAR = (
    "A position is frame[slice]: the frame is prompt, response or all; the slice is [:], [a:], [:b], [a:b] or [i], where negative "
    "numbers count from the frame's end. Examples: response[:5], prompt[-1], all[2:10]."
)
_POSITION = re.compile(r"(prompt|response|all)\[(?:(-?\d{1,6})?(:)(-?\d{1,6})?|(-?\d{1,6}))\]")


class UnknownPosition(ValueError):
    """The text is not a position; the message contains the grammar."""


@dataclass(frozen=True)
class Position:
    """A window of tokens. `start` and `stop` are half-open, None at the frame's ends; `[i]` is one token and sets `single`."""

    frame: str
    start: int | None
    stop: int | None
    single: bool = False

    def __str__(self) -> str:
        if self.single:
            return f"{self.frame}[{self.start}]"
        return f"{self.frame}[{'' if self.start is None else self.start}:{'' if self.stop is None else self.stop}]"

    def window(self, prompt_tokens: int, response_tokens: int) -> range:
        """Returns the indices into prompt + response that this position selects: clamped, and empty if nothing remains."""
        length, offset = {
            "prompt": (prompt_tokens, 0),
            "response": (response_tokens, prompt_tokens),
            "all": (prompt_tokens + response_tokens, 0),
        }[self.frame]
        if self.single:
            assert self.start is not None
            index = self.start + length if self.start < 0 else self.start
            return range(offset + index, offset + index + 1) if 0 <= index < length else range(offset, offset)
        first, last, _ = slice(self.start, self.stop).indices(length)
        return range(offset + first, offset + max(first, last))

    @property
    def new_tokens(self) -> int | None:
        """Returns the least number of response tokens that this position reads; None when it reads to (or from) the response's end."""
        if self.frame == "prompt":
            return 0
        if self.single:
            assert self.start is not None
            return self.start + 1 if self.frame == "response" and self.start >= 0 else None
        if self.frame == "response" and self.stop is not None and self.stop >= 0 and (self.start is None or self.start >= 0):
            return self.stop
        return None


def parse_position(text: str) -> Position:
    """Returns the position in a text. Raises UnknownPosition, with the grammar, for other text and for windows that are always empty."""
    match = _POSITION.fullmatch(text.replace(" ", ""))
    if match is None:
        raise UnknownPosition(f"{text!r} is not a position. {GRAMMAR}")
    frame, start, colon, stop, single = match.groups()
    if colon is None:
        return Position(frame, int(single), None, single=True)
    position = Position(frame, None if start is None else int(start), None if stop is None else int(stop))
    low, high = position.start or 0, position.stop
    if high is not None and (low < 0) == (high < 0) and high <= low and not (high == 0 and low < 0):
        raise UnknownPosition(f"{text!r} selects no token in a text of any length. {GRAMMAR}")
    if high == 0:
        raise UnknownPosition(f"{text!r} selects no token in a text of any length. {GRAMMAR}")
    return position


def new_tokens_for(positions: Iterable[Position], otherwise: int) -> int:
    """Returns the new tokens needed to fill every window; if a window reads to the response's end, `otherwise`, or more if it begins later."""
    least = 0
    for position in positions:
        begins = position.start if position.frame == "response" and position.start is not None else 0
        least = max(least, otherwise if position.new_tokens is None else position.new_tokens, begins + 1 if begins > 0 else 0)
    return least


def as_stored(text: str) -> str:
    """The position as results name it, without spaces; text that is not a position stays as it is."""
    try:
        return str(parse_position(text))
    except UnknownPosition:
        return text
