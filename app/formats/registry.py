"""The vector formats by name, each with a function that reads and one that writes bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.formats import gguf_vectors, npy, tensorfile
from app.formats.vectors import NamedVector, Origin, Unreadable, Unwritable


@dataclass(frozen=True)
class Format:
    """`write(vectors, origin)` gives bytes, media type and notes; `read(data, most)` gives up to `most` vectors."""

    write: Callable[[Sequence[NamedVector], Origin], tuple[bytes, str, list[str]]]
    read: Callable[[bytes, int], list[NamedVector]]


FORMATS = {
    "safetensors": Format(tensorfile.write, tensorfile.read),
    "gguf": Format(gguf_vectors.write, gguf_vectors.read),
    "npy": Format(npy.write, npy.read),
}
"""Formats by name, which is also the suffix of their files."""
MOST = 10_000
"""The most vectors that a file may hold when it is read, unless the caller sets a lower limit."""


def write_vectors(name: str, vectors: Sequence[NamedVector], origin: Origin) -> tuple[bytes, str, list[str]]:
    """Returns the vectors in a format (a key of FORMATS): bytes, media type, and notes for the reader. Equal vectors give equal bytes.

    Raises Unwritable with a sentence that says what the format cannot hold.
    """
    if not vectors:
        raise Unwritable("There is no vector to write.")
    return FORMATS[name].write(vectors, origin)


def read_vectors(name: str, data: bytes, most: int = MOST) -> list[NamedVector]:
    """Returns the vectors in a file of a format, each checked to be finite, not zero and of one dimension. Raises Unreadable."""
    return FORMATS[name].read(data, most)


def recognised(data: bytes) -> str:
    """Returns the format that the first bytes identify. Raises Unreadable if there is none; a pickle is refused with the reason."""
    if data.startswith(b"GGUF"):
        return "gguf"
    if data.startswith(b"\x93NUMPY"):
        return "npy"
    if data[8:9] == b"{":
        return "safetensors"
    if data.startswith((b"PK\x03\x04", b"\x80")):
        raise Unreadable(
            "This is a .pt, .npz or pickle file; the server never reads those. Save the vectors as safetensors, .npy or GGUF."
        )
    raise Unreadable("The file is neither safetensors nor .npy nor GGUF.")
