"""Safetensors, written so that equal content gives equal bytes, and read without trusting a number in the file.

The library's own writer puts the metadata in another order at every call; here keys, metadata and offsets follow the sorted names.

Convention: one file for any number of vectors, key `position/component/method/layer`, layer as in `app.formats.vectors`, float32
[D]; the metadata hold model, weight_hash, trait, trait_version.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.formats.vectors import NamedVector, Origin, Unreadable, Unwritable, labels, sound
from terms.values import Json, JsonObject

MEDIA_TYPE = "application/vnd.safetensors"
LARGEST_HEADER = 16 << 20
LONGEST_NAME = 300
_WRITTEN = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL"}
_READ = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2"}


def to_bytes(tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str] | None = None) -> bytes:
    """Returns a safetensors file of any arrays. Raises Unwritable for a type that the format or this writer does not have."""
    header: JsonObject = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    pieces, offset = [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        kind = _WRITTEN.get(array.dtype.name)
        if kind is None:
            raise Unwritable(f"{name} is of type {array.dtype.name}; safetensors are written of {', '.join(_WRITTEN)}.")
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensors[name].shape), "data_offsets": [offset, offset + len(data)]}
        pieces.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *pieces])


def write(vectors: Sequence[NamedVector], origin: Origin) -> tuple[bytes, str, list[str]]:
    """Returns bytes, media type and notes."""
    tensors = {named.key: named.vector for named in vectors}
    if len(tensors) != len(vectors):
        raise Unwritable("Two vectors have the same position, component, method and layer; a file holds one of each.")
    return to_bytes(tensors, origin.facts()), MEDIA_TYPE, []


def read(data: bytes, most: int) -> list[NamedVector]:
    """Returns every tensor [D] or [1, D] as a vector, and every row of a tensor [K, D], in the order of their names."""
    header, body = _header(data)
    names = sorted(name for name in header if name != "__metadata__")
    if not names:
        raise Unreadable("The safetensors file holds no tensor.")
    if len(names) > most:
        raise Unreadable(f"The safetensors file holds {len(names):,} tensors; at most {most:,} vectors can be imported at once.")
    tensors = [_fitting(_tensor(name, header[name]), body) for name in names]
    if sum(tensor.end - tensor.begin for tensor in tensors) > len(body):
        raise Unreadable("The safetensors file's tensors overlap: together they are larger than the file.")
    rows = sum(tensor.shape[0] if len(tensor.shape) == 2 else 1 for tensor in tensors)
    if rows > most:
        raise Unreadable(f"The safetensors file holds {rows:,} rows; at most {most:,} vectors can be imported at once.")
    return [named for tensor in tensors for named in _vectors(tensor, body[tensor.begin : tensor.end])]


def tensors_of(pieces: Iterable[bytes], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Returns the float32 tensors [D] with these names from a file that this module wrote, given in pieces; others are not kept in memory."""
    rest, begun = iter(pieces), b""
    while len(begun) < 8 + int.from_bytes(begun[:8].ljust(8, b"\0"), "little") and (more := next(rest, b"")):
        begun += more
    header, body = _header(begun)
    buffers, at = [(_tensor(name, header[name]), bytearray()) for name in names], 0
    for piece in chain([body], map(memoryview, rest)):
        for tensor, kept in buffers:
            kept.extend(piece[max(0, tensor.begin - at) : max(0, tensor.end - at)])
        at += len(piece)
    return {tensor.name: np.frombuffer(kept, "<f4") for tensor, kept in buffers}


class _Tensor(NamedTuple):
    """A tensor as the header describes it; its data lie from `begin` to `end` in the file's body."""

    name: str
    dtype: str
    shape: list[int]
    begin: int
    end: int


def _header(data: bytes) -> tuple[JsonObject, memoryview]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise Unreadable(
            f"The safetensors file is cut off: its header should have {size:,} bytes, and {max(0, len(data) - 8):,} follow."
        )
    if size > LARGEST_HEADER:
        raise Unreadable(f"The safetensors header has {size:,} bytes; {LARGEST_HEADER:,} is the limit for a file of vectors.")
    try:
        header = json.loads(data[8 : 8 + size].decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, Unreadable) else Unreadable("The safetensors header is not a JSON object.") from error
    if not isinstance(header, dict):
        raise Unreadable("The safetensors header is not a JSON object.")
    return header, memoryview(data)[8 + size :]


def _once(pairs: list[tuple[str, Json]]) -> JsonObject:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise Unreadable(f"The safetensors header names {twice[:80]!r} twice.")
    return fields


def _tensor(name: str, facts: Json) -> _Tensor:
    """Returns a tensor from its entry in the header. Raises Unreadable for a name or an entry that is none."""
    what = f"Tensor {name[:80]!r}"
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise Unreadable(f"{what}: a name must have at most {LONGEST_NAME} characters, all of them printable.")
    if not isinstance(facts, dict) or not _whole_numbers(facts.get("shape")) or not _whole_numbers(facts.get("data_offsets"), 2):
        raise Unreadable(f"{what}: the header lacks its dtype, shape or two data_offsets.")
    return _Tensor(name, str(facts.get("dtype")), facts["shape"], *facts["data_offsets"])


def _fitting(tensor: _Tensor, body: memoryview) -> _Tensor:
    """Returns the tensor. Raises Unreadable unless its type, shape and offsets agree with each other and with the file."""
    what = f"Tensor {tensor.name[:80]!r}"
    if len(tensor.shape) not in (1, 2) or 0 in tensor.shape:
        raise Unreadable(f"{what} has the shape {str(tensor.shape)[:80]}; vectors are [D] or rows of [K, D].")
    kind = _READ.get(tensor.dtype)
    if kind is None:
        raise Unreadable(f"{what} is of type {tensor.dtype[:20]!r}; vectors are {', '.join(_READ)}.")
    begin, end, wanted = tensor.begin, tensor.end, math.prod(tensor.shape) * np.dtype(kind).itemsize
    if not begin <= end <= len(body) or end - begin != wanted:
        raise Unreadable(
            f"{what} of shape {str(tensor.shape)[:80]} needs {wanted:,} bytes; its offsets {begin:,} to {end:,} in {len(body):,} do not fit."
        )
    return tensor


def _vectors(tensor: _Tensor, data: memoryview) -> list[NamedVector]:
    name, dtype = tensor.name, tensor.dtype
    array: NDArray[np.generic] = np.frombuffer(data, dtype=_READ[dtype]).reshape(tensor.shape)
    if dtype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if array.ndim == 2 and len(array) > 1:
        return [NamedVector(sound(row, f"{name} row {i}"), name=f"{name} row {i}") for i, row in enumerate(array)]
    flat = array.reshape(-1) if array.ndim == 2 else array
    return [NamedVector(sound(flat, name), name=name, **labels(name))]


def _whole_numbers(value: Json, count: int | None = None) -> bool:
    """Returns whether the value is a short list of numbers that can be sizes."""
    if not isinstance(value, list) or len(value) > 8 or (count is not None and len(value) != count):
        return False
    return all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 48 for number in value)
