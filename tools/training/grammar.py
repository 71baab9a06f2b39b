"""A grammar that is both a writer and a reader: one pattern writes sentences and recognises them.

A pattern is text with `{slot}` and `(one|other|)`. A slot stands for any entry of its lexicon that agrees with what is
already bound: "to {task} , ... by {doing}" can only be filled with the base form and the gerund of the same task. Writing
picks among the agreeing entries; reading binds them. Knows nothing of models, tokens or behaviours.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Bindings = Mapping[str, str]
_PIECE = re.compile(r"\{(\w+)\}|([(|)])|([^\s(){}|]+)")
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(text: str) -> list[str]:
    """Lower-case words and punctuation marks of a text: the only tokenisation the grammar knows."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Entry:
    """One way to fill a slot: its words, and what choosing it binds."""

    words: tuple[str, ...]
    binds: Bindings = field(default_factory=dict)

    def agrees(self, bound: Bindings) -> bool:
        """Whether nothing this entry binds contradicts what is bound already."""
        return all(bound.get(name, value) == value for name, value in self.binds.items())


def entry(text: str, **binds: str) -> Entry:
    """An entry from its text and its bindings."""
    return Entry(tuple(words_of(text)), binds)


class Lexicon:
    """Slots and their entries; reading looks entries up by their first word, writing by what is bound."""

    def __init__(self, slots: Mapping[str, Sequence[Entry]]) -> None:
        self.slots = {name: tuple(entries) for name, entries in slots.items()}
        self._first: dict[str, dict[str, list[Entry]]] = {}
        for name, entries in self.slots.items():
            table = self._first.setdefault(name, {})
            for one in entries:
                table.setdefault(one.words[0] if one.words else "", []).append(one)
        self._names = {name: sorted({key for one in entries for key in one.binds}) for name, entries in self.slots.items()}
        self._fitting: dict[tuple[str | None, ...], list[Entry]] = {}

    def fitting(self, slot: str, bound: Bindings) -> list[Entry]:
        """Entries of a slot that agree with what is bound, in the slot's order."""
        key = (slot, *(bound.get(name) for name in self._names[slot]))
        if key not in self._fitting:
            self._fitting[key] = [one for one in self.slots[slot] if one.agrees(bound)]
        return self._fitting[key]

    def starting(self, slot: str, word: str | None) -> list[Entry]:
        """Entries of a slot that may start at this word, empty ones included."""
        table = self._first[slot]
        return (table.get(word, []) if word else []) + table.get("", [])


# A pattern is a sequence of parts: a word (str), a slot, or a choice among sequences.
@dataclass(frozen=True)
class Slot:
    name: str


@dataclass(frozen=True)
class Choice:
    options: tuple[tuple["Part", ...], ...]


Part = str | Slot | Choice


def parse_pattern(text: str) -> tuple[Part, ...]:
    """Parts of a pattern. Raises ValueError at unbalanced brackets."""
    stack: list[list[list[Part]]] = [[[]]]
    for slot, mark, word in _PIECE.findall(text):
        if slot:
            stack[-1][-1].append(Slot(slot))
        elif word:
            stack[-1][-1].extend(words_of(word))
        elif mark == "(":
            stack.append([[]])
        elif mark == "|":
            stack[-1].append([])
        else:
            if len(stack) == 1:
                raise ValueError(f"')' without '(' in pattern {text!r}")
            options = tuple(tuple(option) for option in stack.pop())
            stack[-1][-1].append(Choice(options))
    if len(stack) != 1 or len(stack[0]) != 1:
        raise ValueError(f"unbalanced brackets or a bare '|' in pattern {text!r}")
    return tuple(stack[0][0])


def write(parts: Sequence[Part], lexicon: Lexicon, bound: Bindings, rng: random.Random) -> tuple[list[str], dict[str, str]]:
    """Words of one sentence of the pattern that agrees with `bound`, and all bindings afterwards.

    Raises LookupError when a slot has no agreeing entry.
    """
    out: list[str] = []
    now = dict(bound)
    for part in parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, Slot):
            fitting = lexicon.fitting(part.name, now)
            if not fitting:
                raise LookupError(f"no entry of slot {part.name!r} agrees with {now}")
            chosen = rng.choice(fitting)
            out.extend(chosen.words)
            now.update(chosen.binds)
        else:
            more, now = write(rng.choice(part.options), lexicon, now, rng)
            out.extend(more)
    return out, now


def read(parts: Sequence[Part], lexicon: Lexicon, words: Sequence[str], bound: Bindings | None = None) -> dict[str, str] | None:
    """Bindings of the first way to derive exactly these words from the pattern, or None."""
    for end, binds in _read(tuple(parts), lexicon, words, 0, dict(bound or {})):
        if end == len(words):
            return binds
    return None


def _read(
    parts: tuple[Part, ...], lexicon: Lexicon, words: Sequence[str], at: int, bound: dict[str, str]
) -> Iterator[tuple[int, dict[str, str]]]:
    if not parts:
        yield at, bound
        return
    head, rest = parts[0], parts[1:]
    if isinstance(head, str):
        if at < len(words) and words[at] == head:
            yield from _read(rest, lexicon, words, at + 1, bound)
    elif isinstance(head, Slot):
        for one in lexicon.starting(head.name, words[at] if at < len(words) else None):
            stop = at + len(one.words)
            if tuple(words[at:stop]) == one.words and one.agrees(bound):
                yield from _read(rest, lexicon, words, stop, {**bound, **one.binds})
    else:
        for option in head.options:
            yield from _read(option + rest, lexicon, words, at, bound)
