"""Reads repeng's entries: pairs of whole texts, as `DatasetEntry(positive, negative)` written to JSON or JSON lines.

    [{"positive": "[INST] Act as if you are happy. [/INST] The weather", "negative": "[INST] Act as if you are sad. [/INST] The weather"}]

A chat template around a text is removed, because the model's own template is added; text after the prompt becomes the given response.
"""

from collections.abc import Sequence

from app.traits.readers.base import Reader, Source, Taken, longer_note, words
from app.traits.readers.templates import apart, has_more_turns

FIELDS = {"positive", "negative"}


def recognises(source: Source) -> bool:
    """Returns whether the file is a list of objects with two texts and nothing else."""
    rows = source.rows
    return bool(rows) and all(row.keys() == FIELDS and isinstance(row["positive"], str) for row in rows)


def read(sources: Sequence[Source], _seed: int) -> Taken:
    """Reads a row of each class for every entry; leaves out entries with a text of several turns, which a row cannot hold."""
    taken, templated, longer = Taken(), 0, 0
    for source in sources:
        for number, row in enumerate(source.rows, start=1):
            texts = [words(source, number, row, part) for part in ("positive", "negative")]
            rows = [apart(text) for text in texts]
            if any(one and has_more_turns(one) for one in rows):
                longer += 1
                continue
            for side, one, text in zip((taken.positive, taken.negative), rows, texts, strict=True):
                side.append(dict(one or {"prompt": text}))
            templated += all(rows)
    taken.notes.append(
        f"Read as repeng: {len(taken.positive):,} entries, each text a prompt. {templated:,} were written in a chat template, which was "
        "taken off: what follows the prompt is the given response."
    )
    taken.notes += longer_note(longer)
    return taken


READER = Reader("entries of two texts, positive and negative (JSON, JSON lines)", recognises, read)
