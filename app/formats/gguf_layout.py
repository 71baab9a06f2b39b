"""Finds the tensors of a GGUF file, and reads its metadata of text and of 32-bit numbers; other metadata is skipped.

Every count and size in the file is checked against the file's length before it is used, so that a false value costs no more time or memory
than the file's length. What the tensors mean is left to `app.formats.gguf_vectors`.
"""

import struct
from dataclasses import dataclass, field

from app.formats.vectors import Unreadable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
F32 = 0
DEFAULT_ALIGNMENT = 32
LARGEST_ALIGNMENT = 1 << 20
MOST_FIELDS = 10_000
STRING, ARRAY = 8, 9
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
UINT32, INT32 = 4, 5


@dataclass(frozen=True)
class Extent:
    """Float32 numbers within the file: the byte at which they begin, and their count."""

    begin: int
    count: int


@dataclass
class Layout:
    """A file's tensors, and its metadata of 32-bit numbers (`numbers`) and of text (`texts`), each by name."""

    numbers: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Extent] = field(default_factory=dict)


class Cursor:
    """Reads the file from front to back and never past its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def skip(self, size: int) -> int:
        """Moves on by `size` bytes and returns where they begin. Raises Unreadable if they reach past the end."""
        begin = self.at
        if size > len(self.data) - begin:
            raise Unreadable(
                f"The GGUF file is cut off: at byte {begin:,} it needs {size:,} more, and it has {len(self.data):,} in all."
            )
        self.at += size
        return begin

    def number(self, kind: str) -> int:
        """Reads an unsigned (I: 32 bits, Q: 64 bits) or signed (i: 32 bits) little-endian integer."""
        size = struct.calcsize(kind)
        return int(struct.unpack_from(f"<{kind}", self.data, self.skip(size))[0])

    def text(self) -> str:
        """Reads a text: its length in bytes, then UTF-8."""
        size = self.number("Q")
        begin = self.skip(size)
        return self.data[begin : begin + size].decode("utf-8", "replace")


def layout(data: bytes, most: int) -> Layout:
    """Returns the layout of a file with at most `most` tensors, all float32 and of one dimension. Raises Unreadable for any other file."""
    if data[:4] != MAGIC:
        raise Unreadable("The bytes are not a GGUF file: they do not begin with GGUF.")
    cursor = Cursor(data)
    cursor.skip(4)
    version = cursor.number("I")
    if version not in VERSIONS:
        order = " (it seems to be big-endian)" if version & 0xFFFF == 0 else ""
        raise Unreadable(
            f"The GGUF file is of version {version}{order}; the server reads little-endian files of version 2 and 3."
        )
    tensors, fields = cursor.number("Q"), cursor.number("Q")
    if tensors > most or fields > MOST_FIELDS:
        raise Unreadable(
            f"The GGUF file claims {tensors:,} tensors and {fields:,} fields; the limits are {most:,} and {MOST_FIELDS:,}."
        )
    contents = Layout()
    alignment = DEFAULT_ALIGNMENT
    for _ in range(fields):
        alignment = _field(cursor, contents, alignment)
    claimed = [_tensor(cursor) for _ in range(tensors)]
    start = -(-cursor.at // alignment) * alignment
    for name, offset, count in claimed:
        if name in contents.tensors:
            raise Unreadable(f"The GGUF file holds the tensor {name[:80]!r} twice.")
        begin = start + offset
        if begin + 4 * count > len(data):
            raise Unreadable(
                f"Tensor {name[:80]!r} of {count:,} numbers ends at byte {begin + 4 * count:,}; the GGUF file has {len(data):,}."
            )
        contents.tensors[name] = Extent(begin, count)
    if 4 * sum(extent.count for extent in contents.tensors.values()) > len(data):
        raise Unreadable("The GGUF file's tensors overlap: together they are larger than the file.")
    return contents


LAYER_OFFSET = ".layer_offset"
"""End of the key with the number that is added to the layers in the names of tensors."""


def _field(cursor: Cursor, contents: Layout, alignment: int) -> int:
    """Reads or skips one field of metadata; returns the alignment of the tensors, which the field may set."""
    name, kind = cursor.text(), cursor.number("I")
    if kind == STRING:
        contents.texts[name] = cursor.text()
    elif name == "general.alignment":
        if kind != UINT32:
            raise Unreadable("The GGUF file's general.alignment is not a 32-bit number.")
        alignment = cursor.number("I")
        if not 1 <= alignment <= LARGEST_ALIGNMENT or alignment & (alignment - 1):
            raise Unreadable(
                f"The GGUF file's alignment is {alignment:,}; it must be a power of two up to {LARGEST_ALIGNMENT:,}."
            )
    elif name.endswith(LAYER_OFFSET) and kind not in (UINT32, INT32):
        raise Unreadable(f"The GGUF file's {name[:80]} is not a 32-bit number.")
    elif kind in (UINT32, INT32):
        contents.numbers[name] = cursor.number("I" if kind == UINT32 else "i")
    else:
        _skip_value(cursor, name, kind)
    return alignment


def _skip_value(cursor: Cursor, name: str, kind: int) -> None:
    """Skips a number of another type, or an array. Raises Unreadable for an array of arrays and for an unknown type."""
    if kind in SCALAR_BYTES:
        cursor.skip(SCALAR_BYTES[kind])
        return
    if kind != ARRAY:
        raise Unreadable(f"The GGUF field {name[:80]!r} is of the unknown type {kind}.")
    inner, count = cursor.number("I"), cursor.number("Q")
    if inner in SCALAR_BYTES:
        cursor.skip(count * SCALAR_BYTES[inner])
    elif inner == STRING and count <= len(cursor.data) // 8:  # each string takes 8 bytes or more
        for _ in range(count):
            cursor.skip(cursor.number("Q"))
    else:
        raise Unreadable(f"The GGUF field {name[:80]!r} is an array; control vectors have no arrays.")


def _tensor(cursor: Cursor) -> tuple[str, int, int]:
    """Returns a tensor's name, its offset in bytes from the start of the tensors, and its count of numbers."""
    name, dimensions = cursor.text(), cursor.number("I")
    if dimensions != 1:
        raise Unreadable(f"Tensor {name[:80]!r} has {dimensions:,} dimensions; a direction has one dimension.")
    count, kind, offset = cursor.number("Q"), cursor.number("I"), cursor.number("Q")
    if kind != F32:
        raise Unreadable(f"Tensor {name[:80]!r} is of GGML type {kind}; a direction is float32 (type {F32}).")
    return name, offset, count
