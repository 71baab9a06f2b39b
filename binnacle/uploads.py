"""Uploads local folders and files as forms. Sending the same content again creates nothing new: the service identifies content by its hash."""

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
TRAIT_SUFFIXES = {".txt", ".json", ".jsonl"}


def upload_trait(connection: Connection, source: Path | Sequence[Path], fields: dict[str, Any]) -> Trait:
    """Uploads a folder's files (positive.txt or .jsonl, negative.*, definition.txt, steering.json, ...), or these files, and returns the
    trait.

    Raises BinnacleError for a folder without such files, and for a missing file.
    """
    paths = (
        _in_folder(source)
        if isinstance(source, Path) and not source.is_file()
        else [source]
        if isinstance(source, Path)
        else source
    )
    for path in paths:
        if not path.is_file():
            raise BinnacleError("no_such_file", f"{path} is not a file.")
    names = [path.name for path in paths]
    parts: Parts = [
        ("files", (path.name if names.count(path.name) == 1 else f"{path.resolve().parent.name}-{path.name}", _bytes(path)))
        for path in paths
    ]
    return _sent(Trait, connection, "/v1/traits", parts, fields)


def _in_folder(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BinnacleError(
            "no_such_folder",
            f"{folder} is not a folder and not a file. A trait is a folder with positive.txt, negative.txt and steering.json, or a data file.",
        )
    paths = sorted(path for path in folder.iterdir() if path.suffix in TRAIT_SUFFIXES and path.is_file())
    if not paths:
        raise BinnacleError(
            "empty_folder", f"{folder} holds no .txt, .json or .jsonl file; a trait needs positive.txt and negative.txt."
        )
    return paths


def upload_vectors(
    connection: Connection, file: Path, fields: dict[str, Any], on_note: Callable[[str], None] = lambda _: None
) -> list[Vector]:
    """Uploads a safetensors, .npy or GGUF file, or a .pt file after converting it here, and returns the vectors.

    `on_note` is called with what was skipped. Raises BinnacleError for a file that cannot be read.
    """
    if file.suffix in PICKLED:
        from binnacle.pickled import converted

        known = read(dict[str, Any], connection.request("GET", f"/v1/models/{quoted(str(fields['model']))}"))
        found = converted(file, count=known["facts"].get("layers"), layers=fields.get("vector_layers"))
        for note in found.notes:
            on_note(note)
        given = {name: value for name, value in fields.items() if value is not None and name != "vector_layers"}
        part, fields = (found.name, found.data), {**found.fields, **given}
    else:
        part = file.name, _bytes(file)
    return list(_sent(_Imported, connection, "/v1/vectors", [("file", part)], fields)["items"])


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
