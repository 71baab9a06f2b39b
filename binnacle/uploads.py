"""Uploads local folders and files as forms. Sending the same content again creates nothing new: the service identifies content by its hash."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from binnacle.connection import Connection
from binnacle.errors import BinnacleError
from binnacle.results import Trait, Vector, read
from binnacle.served import quoted

Parts = list[tuple[str, tuple[str, bytes]]]
Result = TypeVar("Result")
PICKLED = {".pt", ".pth"}
TABLES = {".csv", ".tsv"}
TRAIT_SUFFIXES = {".txt", ".json", ".jsonl"} | TABLES
CLASSES = {f"{part}.{suffix}" for part in ("positive", "negative") for suffix in ("txt", "jsonl")}
MOST_NAMED = 20
"""Most skipped files that one sentence names."""


def _unheard(_note: str) -> None:
    """Drops a note."""


def resolved(path: str | Path) -> Path:
    """Returns the path without links and dots. Raises BinnacleError for a link that leads to itself, and for what is no file name."""
    try:
        return Path(path).resolve()
    except RuntimeError as error:
        raise BinnacleError("unreadable_file", f"{path} is a link that leads to itself.") from error
    except (OSError, ValueError) as error:
        raise BinnacleError("unreadable_file", f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def upload_trait(
    connection: Connection, source: Path | Sequence[Path], fields: dict[str, Any], on_note: Callable[[str], None] = _unheard
) -> Trait:
    """Uploads a folder's files (positive.txt or .jsonl, negative.*, definition.txt, steering.json, ...), or these files, and returns the
    trait.

    `on_note` is called with a sentence that names the skipped files. Raises BinnacleError for a folder without such
    files, and for a missing file.
    """
    paths = _found(source, on_note) if isinstance(source, Path) else list(dict.fromkeys(source))
    for path in paths:
        if not path.is_file():
            raise BinnacleError("no_such_file", f"{path} is not a file.")
    parts: Parts = [("files", (name, _bytes(path))) for name, path in zip(_names(paths), paths, strict=True)]
    return _sent(Trait, connection, "/v1/traits", parts, fields)


def _names(paths: Sequence[Path]) -> list[str]:
    """Returns each file's name, after as many of its folders' names as make it unique."""
    places = [path.absolute().parts[1:] for path in paths]
    taken = [1] * len(paths)
    while True:
        names = ["-".join(place[-count:]) for place, count in zip(places, taken, strict=True)]
        fewest = {name: min(count for other, count in zip(names, taken, strict=True) if other == name) for name in names}
        counts = Counter(names)
        alike = [i for i, name in enumerate(names) if counts[name] > 1 and taken[i] == fewest[name] < len(places[i])]
        if not alike:
            return names
        for i in alike:
            taken[i] += 1


def _found(folder: Path, on_note: Callable[[str], None]) -> list[Path]:
    """Returns the files of the folder to send, or the given file. A table beside positive.* or negative.* is no part of the trait."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise BinnacleError(
            "no_such_folder",
            f"{folder} is not a folder and not a file. A trait is a folder with positive.txt, negative.txt and steering.json, or a data file.",
        )
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    sent = TRAIT_SUFFIXES - (TABLES if CLASSES & {path.name for path in files} else set())
    paths = [path for path in files if path.suffix.lower() in sent]
    if not paths:
        raise BinnacleError(
            "empty_folder",
            f"{folder} holds no .txt, .json, .jsonl, .csv or .tsv file; a trait needs positive.txt and negative.txt, or a data file.",
        )
    skipped = [path.name for path in files if path not in paths]
    if skipped:
        more = f" and {len(skipped) - MOST_NAMED:,} more" if len(skipped) > MOST_NAMED else ""
        on_note(f"Not sent, because they are not files of a trait: {', '.join(skipped[:MOST_NAMED])}{more}.")
    return paths


def upload_vectors(
    connection: Connection, file: Path, fields: dict[str, Any], on_note: Callable[[str], None] = _unheard
) -> list[Vector]:
    """Uploads a safetensors, .npy or GGUF file, or a .pt file after converting it here, and returns the vectors.

    `on_note` is called with a sentence for each note of the conversion. Raises BinnacleError for a file that cannot be read or is empty.
    """
    part = file.name, contents(file)  # first: an absent file matters more than an absent model or torch
    if file.suffix.lower() in PICKLED:
        from binnacle.pickled import converted

        known = read(dict[str, Any], connection.request("GET", f"/v1/models/{quoted(str(fields['model']))}"))
        conversion = converted(file, count=known["facts"].get("layers"), layers=fields.get("vector_layers"))
        for note in conversion.notes:
            on_note(note)
        given = {name: value for name, value in fields.items() if value is not None and name != "vector_layers"}
        part, fields = (conversion.name, conversion.data), {**conversion.fields, **given}
    return list(_sent(_Imported, connection, "/v1/vectors", [("file", part)], fields)["items"])


def contents(file: Path) -> bytes:
    """Returns the bytes of a file. Raises BinnacleError if it does not exist, cannot be read or is blank."""
    data = _bytes(file)
    if not data.strip():
        raise BinnacleError("empty_file", f"{file} is empty.")
    return data


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: not a valid file name
        why = getattr(error, "strerror", None) or str(error)
        raise BinnacleError("unreadable_file", f"{file} cannot be read: {why}.") from error


class _Imported(TypedDict):
    items: list[Vector]


def _sent(kind: type[Result], connection: Connection, path: str, parts: Parts, fields: dict[str, Any]) -> Result:
    text = {name: _text(value) for name, value in fields.items() if value is not None}
    return read(kind, connection.request("POST", path, form=text, files=parts, timeout=120))


def _text(value: Any) -> str:
    """Returns a value as text for a form: `true`, `3,4`."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
