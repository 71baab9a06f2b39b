"""Reads repeng's entries: pairs of whole texts, as `DatasetEntry(positive, negative)` written to JSON or JSON lines.

    [{"positive": "[INST] Act as if you are happy. [/INST] The weather", "negative": "[INST] Act as if you are sad. [/INST] The weather"}]

A chat template around a text is removed, because the model's own template is added; text after the prompt becomes the given response.
"""

from collections.abc import Sequence

from app.errors import invalid
from app.traits.readers.base import Reader, Source, Taken, longer_note, words
from app.traits.readers.templates import apart, has_marks, has_more_turns

FIELDS = {"positive", "negative"}


def recognises(source: Source) -> bool:
    """Returns whether the file is a list of objects with two texts and nothing else."""
    rows = source.rows
    return bool(rows) and all(row.keys() == FIELDS and isinstance(row["positive"], str) for row in rows)


def read(sources: Sequence[Source], _seed: int) -> Taken:
    """Reads a row of each class for every entry; leaves out entries with a text of several turns, which a row cannot hold.

    Raises Problem 422 with file and row for a text that is blank, or has an empty prompt in its template.
    """
    taken, templated, longer, marked = Taken(), 0, 0, 0
    for source in sources:
        for number, row in enumerate(source.rows, start=1):
            texts = [words(source, number, row, part) for part in ("positive", "negative")]
            rows = [apart(text) for text in texts]
            if any(split and has_more_turns(split) for split in rows):
                longer += 1
                continue
            if any(split is not None and "prompt" not in split for split in rows):
                detail = f"{source.file}, row {number}: a text has an empty prompt in its chat template. Write one or leave the row out."
                raise invalid(f"/{source.file}", "invalid_row", detail)
            for side, split, text in zip((taken.positive, taken.negative), rows, texts, strict=True):
                side.append(dict(split or {"prompt": text}))
            templated += all(rows)
            parts = [part for split, text in zip(rows, texts, strict=True) for part in (split.values() if split else [text])]
            marked += any(has_marks(part) for part in parts)
    taken.notes.append(
        f"Read as repeng: {len(taken.positive):,} entries, each text a prompt. {templated:,} were written in a chat template, which was "
        "taken off: what follows the prompt is the given response."
    )
    if marked:
        taken.notes.append(
            f"Entries with marks of a chat template left in their texts: {marked:,}. Take them off, because the model's own template is added. "
            "Only whole templates of [INST], ChatML and Llama 3 are taken off here."
        )
    taken.notes += longer_note(longer)
    return taken


READER = Reader("entries of two texts, positive and negative (JSON, JSON lines)", recognises, read)
