"""Writes and reads vectors as NumPy's .npy: one array, never a pickle.

Convention: a file of one vector is float32 [D]; a file of several vectors of one width is [K, D], in the order of the request. The file holds
neither layers nor names, so its reader must get them elsewhere.
"""

import ast
import io
import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.lib import format as npy_format

from app.formats.vectors import NamedVector, Origin, Unreadable, Unwritable, sound

MEDIA_TYPE = "application/x-npy"
MAGIC = b"\x93NUMPY"
LARGEST_HEADER = 10_000
_FLOAT = re.compile("[<>=|]f[248]")


def write(vectors: Sequence[NamedVector], _origin: Origin) -> tuple[bytes, str, list[str]]:
    """Returns bytes, media type and notes (the rows' names in order). Raises Unwritable for vectors of different widths, and for no vector."""
    widths = sorted({named.vector.size for named in vectors})
    if len(widths) != 1:
        raise Unwritable(
            f"One .npy holds vectors of one width; these have {', '.join(map(str, widths)) or 'none'}. Export as safetensors."
        )
    array = vectors[0].vector if len(vectors) == 1 else np.stack([named.vector for named in vectors])
    out = io.BytesIO()
    npy_format.write_array(out, np.ascontiguousarray(array, dtype="<f4"), version=(1, 0), allow_pickle=False)
    notes = [] if len(vectors) == 1 else ["Rows, in order: " + ", ".join(named.key for named in vectors)]
    return out.getvalue(), MEDIA_TYPE, notes


def read(data: bytes, most: int) -> list[NamedVector]:
    """Returns the vector of a file [D], or the rows of a file [K, D] as vectors named `row 0`, `row 1` and so on. Raises Unreadable."""
    shape, fortran, dtype, begin = _header(data)
    if len(shape) == 2 and shape[0] > most:
        raise Unreadable(f"The .npy holds {shape[0]:,} rows; at most {most:,} vectors can be imported at once.")
    left, wanted = len(data) - begin, math.prod(shape) * np.dtype(dtype).itemsize
    if left != wanted:
        raise Unreadable(f"The .npy of shape {shape} needs {wanted:,} bytes after its header, and {left:,} follow.")
    array = np.frombuffer(data, dtype=dtype, offset=begin).reshape(shape, order="F" if fortran else "C")
    if array.ndim == 1:
        return [NamedVector(sound(array, ""))]
    return [NamedVector(sound(row, f"row {i}"), name=f"row {i}") for i, row in enumerate(array)]


def _header(data: bytes) -> tuple[tuple[int, ...], bool, str, int]:
    """Returns the shape, whether the order is Fortran's, the type, and the byte at which the numbers begin. Raises Unreadable.

    NumPy's own reader is not used, because it raises errors of many types for broken headers.
    """
    size_bytes = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(data[6:8])
    if data[:6] != MAGIC or size_bytes is None:
        raise Unreadable("The bytes are not an .npy file of version 1, 2 or 3.")
    begin = 8 + size_bytes
    size = int.from_bytes(data[8:begin], "little")
    if size > min(LARGEST_HEADER, len(data) - begin):
        raise Unreadable(
            f"The .npy header claims {size:,} bytes; {max(0, len(data) - begin):,} follow, and the limit is {LARGEST_HEADER:,}."
        )
    try:
        header = ast.literal_eval(data[begin : begin + size].decode("utf-8").strip())
        shape, fortran, dtype = header["shape"], header["fortran_order"], header["descr"]
    except (ValueError, SyntaxError, RecursionError, MemoryError, KeyError, TypeError) as error:
        raise Unreadable("The .npy header is not a dictionary of descr, fortran_order and shape.") from error
    if not isinstance(fortran, bool):
        raise Unreadable(f"The .npy header says {_shown(fortran, 40)} for fortran_order; it must be True or False.")
    if not isinstance(dtype, str) or _FLOAT.fullmatch(dtype) is None:
        raise Unreadable(
            f"The .npy is of type {_shown(dtype, 40)}; vectors must be floats of 2, 4 or 8 bytes, and pickles are never read."
        )
    whole = isinstance(shape, tuple) and all(type(length) is int and 0 <= length < 1 << 48 for length in shape)
    if not whole or len(shape) not in (1, 2) or 0 in shape:
        raise Unreadable(f"The .npy has the shape {_shown(shape, 80)}; it must be (D,), one vector, or (K, D), K of them.")
    return shape, fortran, dtype, begin + size


def _shown(value: object, most: int) -> str:
    """Returns the beginning of a header's value in ASCII; a longer text for a number with more digits than Python writes."""
    try:
        return ascii(value)[:most]
    except ValueError:
        return "a number with too many digits"
