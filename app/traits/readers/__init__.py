"""Converts files of other tools into the files of a trait folder (`app.traits.files`), which then checks every row.

One module per format. Trait folder files sent with them (steering.json, definition.txt, paraphrases.json, unrelated.json and split.json) take
precedence over a reader's output.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from app.errors import invalid
from app.traits import files as folder
from app.traits.readers import caa, messages, pairs, persona_vectors, repeng
from app.traits.readers.base import SUFFIXES, Reader, Row, Source, Taken, opened

FOLDER = "folder"
READERS: dict[str, Reader] = {
    "caa": caa.READER,
    "persona_vectors": persona_vectors.READER,
    "messages": messages.READER,
    "repeng": repeng.READER,
    "pairs": pairs.READER,
}
"""Readers by the name used in requests, in the order in which they are tried."""
FORMATS = (FOLDER, *READERS)
_CLASSES = tuple(f"{part}.{suffix}" for part in ("positive", "negative") for suffix in ("txt", "jsonl"))


def as_folder(
    files: Mapping[str, bytes], form: str | None, seed: int, notes: list[str]
) -> tuple[dict[str, bytes], Callable[[str], str]]:
    """Returns the files of a trait folder, and the reader's `compared`; adds notes on the used and the dropped parts.

    A folder's own files stay unchanged. Raises Problem 422 for files in no known format, or not in the requested format.
    """
    own = {name: data for name, data in files.items() if name in folder.KNOWN + folder.UNUSED}
    foreign = {name: data for name, data in files.items() if name not in own}
    readable = all(PurePosixPath(name).suffix.lower() in SUFFIXES for name in foreign)
    if form == FOLDER or not foreign or not readable or any(name in own for name in _CLASSES):
        return dict(files), str  # `files.read` reports what is wrong
    sources = [opened(name, data) for name, data in sorted(foreign.items())]
    reader = _recognised(sources) if form is None else READERS[form]
    for source in sources:
        if not reader.recognises(source):
            name = next(name for name, candidate in READERS.items() if candidate is reader)
            raise invalid(f"/{source.file}", "unknown_format", f"{source.file} is not of the format {name}: {reader.about}.")
    taken = reader.read(sources, seed)
    notes += taken.notes
    made = {"positive.jsonl": _lines(taken.positive), "negative.jsonl": _lines(taken.negative)}
    if "steering.json" not in own:
        made["steering.json"] = _steering(taken, sources)
    return {**made, **own}, reader.compared


def _recognised(sources: list[Source]) -> Reader:
    reader = next((candidate for candidate in READERS.values() if candidate.recognises(sources[0])), None)
    if reader is None:
        known = "; ".join(f"{name}: {candidate.about}" for name, candidate in READERS.items())
        detail = f"{sources[0].file} is in none of the formats that this server reads. {known}. Or send a folder: {', '.join(folder.KNOWN)}."
        raise invalid(f"/{sources[0].file}", "unknown_format", detail)
    return reader


def _steering(taken: Taken, sources: list[Source]) -> bytes:
    if not taken.questions:
        files = ", ".join(source.file for source in sources)
        detail = (
            f"{files}: there are no questions to steer on, and too few prompts are common to both classes to keep some out as questions. "
            'Send a steering.json beside it: ["question", ...].'
        )
        raise invalid("/steering", "missing_file", detail)
    steering = {"questions": taken.questions, "eval_prompt": taken.eval_prompt}
    return json.dumps({name: value for name, value in steering.items() if value is not None}).encode()


def _lines(rows: list[Row]) -> bytes:
    """The rows as a file of a trait folder, which is read at once and not stored; escaped, so that its reader refuses a lone surrogate."""
    return "\n".join(json.dumps(row) for row in rows).encode()
