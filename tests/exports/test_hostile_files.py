"""A damaged or lying vector file is refused with a sentence, in little memory, and nothing is ever unpickled."""

import io
import json
import pickle
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.formats.registry import FORMATS, read_vectors, recognised, write_vectors
from app.formats.vectors import NamedVector, Unreadable
from tests.exports.test_formats import ORIGIN, layers

GOOD = {name: write_vectors(name, layers(1, 2), ORIGIN)[0] for name in FORMATS}


def tensors(header: Any, body: bytes = bytes(64), size: int | None = None) -> bytes:
    """A safetensors file of that header and body; `size` replaces the header's true length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + body


def entry(dtype: Any = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    """A header of one tensor, four float32 unless changed."""
    return {"x": {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": list(offsets)}}


NAN = np.array([1, np.nan, np.inf, 2], np.float32).tobytes()
SAFETENSORS: list[tuple[bytes, str]] = [
    (b"", "cut off"),
    (b"\x10", "cut off"),
    (tensors({}, size=1 << 60), "cut off"),
    (tensors({}, bytes(17 << 20), size=17 << 20), "the limit for a file"),
    (tensors(b"not json"), "not a JSON object"),
    (tensors(b"[" * 100_000), "not a JSON object"),
    (tensors(b"\xff{}"), "not a JSON object"),
    (tensors([1]), "not a JSON object"),
    (tensors({}), "no tensor"),
    (tensors({"__metadata__": {"a": "b"}}), "no tensor"),
    (tensors(b'{"x":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"x":{}}'), "names 'x' twice"),
    (tensors(b'{"x":{"dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16]}}'), "names 'dtype' twice"),
    (tensors({"x": []}), "lacks its dtype, shape"),
    (tensors(entry(shape=[-4])), "lacks its dtype, shape"),
    (tensors(entry(shape=[True])), "lacks its dtype, shape"),
    (tensors(entry(shape=[4.0])), "lacks its dtype, shape"),
    (tensors(entry(shape=[10**30])), "lacks its dtype, shape"),
    (tensors(entry(shape=[1] * 9)), "lacks its dtype, shape"),
    (tensors(entry(offsets=(0, 8, 16))), "lacks its dtype, shape"),
    (tensors(entry("I64")), "'I64'; vectors are F32"),
    (tensors(entry({"a": 1})), "is of type"),
    (tensors(entry(shape=(1 << 40,), offsets=(0, 1 << 42))), "do not fit"),
    (tensors(entry(offsets=(8, 16))), "needs 16 bytes"),
    (tensors(entry(offsets=(16, 0))), "do not fit"),
    (tensors(entry(shape=(2, 2))), "'x row 0' is zero everywhere"),
    (tensors(entry(shape=(1, 2, 2))), r"the shape \[1, 2, 2\]"),
    (tensors(entry(shape=(10_001, 1), offsets=(0, 40_004)), bytes(40_004)), "rows; at most 10,000 vectors"),
    (tensors(entry(shape=(1 << 40, 0), offsets=(0, 0))), r"the shape \[1099511627776, 0\]"),
    (tensors(entry(shape=(1 << 47, 1 << 47, 0), offsets=(0, 0))), r"the shape \[140737488355328, 140737488355328, 0\]"),
    (tensors(entry(shape=(1 << 47, 0, 1 << 47), offsets=(0, 0))), "the shape"),
    (tensors(entry(shape=(), offsets=(0, 4)), bytes(4)), r"the shape \[\]"),
    (tensors(entry(shape=(0,), offsets=(0, 0))), r"the shape \[0\]"),
    (tensors(entry(), NAN), "2 numbers that are NaN, infinite or too large for float32, the first at 1"),
    (tensors(entry()), "zero everywhere"),
    (tensors(entry("F64", (2,)), np.array([1e39, 1.0]).tobytes()), "too large for float32"),
    (tensors({f"t{i}": entry()["x"] for i in range(10_001)}), "10,001 tensors; at most 10,000"),
    (
        tensors({f"t{i}": entry("F32", (16,), (0, 64))["x"] for i in range(9)}, np.ones(16, np.float32).tobytes()),
        "overlap",
    ),
]


@pytest.mark.parametrize(("data", "words"), SAFETENSORS)
def test_bad_safetensors_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_vectors("safetensors", data)


def array_file(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def npy_header(text: str, body: bytes = bytes(16)) -> bytes:
    raw = text.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + body


NPY: list[tuple[bytes, str]] = [
    (b"\x93NUMPY", "not an .npy file"),
    (b"\x93NUMPY\x09\x00" + bytes(100), "not an .npy file"),
    (b"\x93NUMPY\x02\x00" + b"\xff" * 4, "claims 4,294,967,295 bytes"),
    (npy_header("{'descr': '<f4'}"), "not a dictionary"),
    (npy_header("[1]"), "not a dictionary"),
    (npy_header(f"{{'descr': '<f4', 'fortran_order': 0x{'f' * 5_000}, 'shape': (4,)}}"), "too many digits for fortran_order"),
    (npy_header(f"{{'descr': 0x{'f' * 5_000}, 'fortran_order': False, 'shape': (4,)}}"), "of type a number with too many digits"),
    (
        npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (0x{'f' * 5_000},)}}"),
        "the shape a number with too many digits",
    ),
    (npy_header("{'descr': '<f4', 'fortran_order': '\\ud800', 'shape': (4,)}"), r"says '\\ud800' for fortran_order"),
    (npy_header("(" * 100), "not a dictionary"),
    (npy_header("__import__('os').system('false')"), "not a dictionary"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}"), "the shape"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': 4}"), "the shape 4"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4)}"), r"the shape \(True, 4\)"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)), r"the shape \(True,\)"),
    (npy_header("{'descr': '<f4', 'fortran_order': 1, 'shape': (4,)}"), "1 for fortran_order"),
    (npy_header("{'descr': '<f4', 'fortran_order': 'no', 'shape': (4,)}"), "'no' for fortran_order"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999999,)}"), "the shape"),
    (npy_header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}"), "of type"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}"), "needs 4,398,046,511,104 bytes"),
    (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 4)}"), "needs 64 bytes"),
    (npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}"), "pickles are never read"),
    (array_file(np.array([object()]), allow_pickle=True), "pickles are never read"),
    (array_file(np.arange(4)), "type '<i8'"),
    (array_file(np.ones(4, np.complex64)), "type '<c8'"),
    (array_file(np.ones(2, "g")), "of type '<f16'"),
    (array_file(np.ones((2, 2, 2))), "must be .D,., one vector"),
    (array_file(np.float32(1.0)), "must be .D,., one vector"),
    (array_file(np.ones((2, 0))), "must be .D,., one vector"),
    (array_file(np.ones((10_001, 1), np.float32)), "10,001 rows"),
    (array_file(np.array([[1.0, 2.0], [0.0, 0.0]])), "'row 1' is zero"),
    (array_file(np.array([1.0, np.nan])), "NaN"),
]


@pytest.mark.parametrize(("data", "words"), NPY)
def test_bad_npy_files_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_vectors("npy", data)


def string(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def field(name: str, kind: int, value: bytes) -> bytes:
    return string(name) + struct.pack("<I", kind) + value


ARCH = field("general.architecture", 8, string("controlvector"))


def info(name: str = "direction.1", dims: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf_file(
    *fields: bytes, infos: tuple[bytes, ...] = (), body: bytes = b"", counts: tuple[int, int] | None = None, version: int = 3
) -> bytes:
    """Magic, version, counts, fields, tensor infos, padding to 32, data."""
    said = counts or (len(infos), len(fields))
    head = b"GGUF" + struct.pack("<IQQ", version, *said) + b"".join(fields) + b"".join(infos)
    return head + bytes(-len(head) % 32) + body


ONES = np.ones(4, np.float32).tobytes()
GGUF: list[tuple[bytes, str]] = [
    (b"GGUF", "cut off"),
    (gguf_file(version=1), "version 1;"),
    (b"GGUF" + struct.pack(">I", 3) + bytes(64), "big-endian"),
    (gguf_file(counts=(1 << 63, 0)), "claims 9,223,372,036,854,775,808 tensors"),
    (gguf_file(counts=(0, 1 << 63)), "claims"),
    (gguf_file(counts=(0, 9_999)), "cut off"),
    (gguf_file(field("x", 9, struct.pack("<IQ", 0, 1 << 62))), "cut off"),
    (gguf_file(field("x", 9, struct.pack("<IQ", 8, 1 << 62))), "is an array; control vectors have"),
    (gguf_file(field("x", 9, struct.pack("<IQ", 9, 1))), "is an array; control vectors have"),
    (gguf_file(field("x", 77, b"")), "unknown type 77"),
    (gguf_file(string("x" * 100)[:50]), "cut off"),
    (gguf_file(struct.pack("<Q", 1 << 50)), "cut off"),
    (gguf_file(ARCH, field("general.alignment", 4, struct.pack("<I", 0))), "power of two"),
    (gguf_file(ARCH, field("general.alignment", 4, struct.pack("<I", 1 << 31))), "power of two"),
    (gguf_file(ARCH, field("general.alignment", 5, struct.pack("<i", -1))), "not a 32-bit number"),
    (gguf_file(field("controlvector.layer_offset", 10, struct.pack("<Q", 3))), "layer_offset is not a 32-bit number"),
    (gguf_file(ARCH), "no tensor"),
    (gguf_file(infos=(info(),), body=ONES), "architecture 'None'"),
    (gguf_file(field("general.architecture", 8, string("llama")), infos=(info(),), body=ONES), "architecture 'llama'"),
    (gguf_file(ARCH, infos=(info("token_embd.weight"),), body=ONES), "holds the tensor 'token_embd.weight'"),
    (gguf_file(ARCH, infos=(info("direction.x"),), body=ONES), "N a layer"),
    (gguf_file(ARCH, infos=(info("direction.01"),), body=ONES), "N a layer"),
    (gguf_file(ARCH, infos=(info("direction.-1"),), body=ONES), "N a layer"),
    (gguf_file(ARCH, infos=(info(dims=(2, 2)),), body=ONES), "2 dimensions"),
    (gguf_file(ARCH, infos=(info(dims=()),), body=ONES), "0 dimensions"),
    (gguf_file(ARCH, infos=(info(kind=1),), body=ONES), "GGML type 1"),
    (gguf_file(ARCH, infos=(info(dims=(1 << 60,)),), body=ONES), "ends at byte"),
    (gguf_file(ARCH, infos=(info(offset=1 << 63),), body=ONES), "ends at byte"),
    (gguf_file(ARCH, infos=(info(), info()), body=ONES), "twice"),
    (gguf_file(ARCH, infos=(info(dims=(0,)),), body=ONES), "shape .0."),
    (gguf_file(ARCH, infos=(info(),), body=NAN), "'direction.1' holds 2 numbers"),
    (gguf_file(ARCH, infos=(info(),), body=bytes(16)), "zero everywhere"),
    (gguf_file(ARCH, infos=tuple(info(f"direction.{i}", (400,)) for i in range(1, 99)), body=bytes(1600)), "overlap"),
]


@pytest.mark.parametrize(("data", "words"), GGUF)
def test_bad_gguf_files_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_vectors("gguf", data)


def test_a_sound_gguf_of_another_program_is_read() -> None:
    """Metadata of every kind are skipped over, the alignment is heeded, direction.0 (repeng writes it where asked to) is block 0."""
    fields = (
        ARCH,
        field("a", 9, struct.pack("<IQ", 8, 2) + string("x") + string("yy")),
        field("b", 9, struct.pack("<IQ3h", 3, 3, 1, 2, 3)),
        field("c", 12, struct.pack("<d", 0.5)),
        field("general.alignment", 4, struct.pack("<I", 8)),
    )
    infos = (info("direction.3", offset=16), info("direction.0"))
    head = b"GGUF" + struct.pack("<IQQ", 2, 2, len(fields)) + b"".join(fields) + b"".join(infos)
    data = head + bytes(-len(head) % 8) + ONES + np.full(4, 2, np.float32).tobytes()
    back = read_vectors("gguf", data)
    assert [(one.layer, one.vector.tolist()) for one in back] == [(0, [1.0] * 4), (3, [2.0] * 4)]


def test_pickles_are_recognised_and_never_opened(tmp_path: Any) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return (tmp_path.joinpath("boom").touch, ())

    archive = io.BytesIO()
    np.savez(archive, np.ones(3))
    for data in (pickle.dumps(Bomb()), archive.getvalue()):
        with pytest.raises(Unreadable, match="never read"):
            recognised(data)
    bomb = array_file(np.array([Bomb()], dtype=object), allow_pickle=True)
    for name in FORMATS:
        for data in (bomb, pickle.dumps(Bomb())):
            with pytest.raises(Unreadable):
                read_vectors(name, data)
    assert not (tmp_path / "boom").exists()
    with pytest.raises(Unreadable, match="neither"):
        recognised(b"hello")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_a_sound_file_with_any_change_is_read_or_refused(name: str, data: st.DataObject) -> None:
    """Truncations, flipped bytes and eight bytes replaced (lengths and offsets are eight bytes)."""
    good = GOOD[name]
    at = data.draw(st.integers(0, len(good) - 1))
    changed = data.draw(
        st.one_of(
            st.just(good[:at]),
            st.integers(0, 255).map(lambda value: good[:at] + bytes([value]) + good[at + 1 :]),
            st.binary(min_size=8, max_size=8).map(lambda value: good[:at] + value + good[at + 8 :]),
        )
    )
    try:
        found = read_vectors(name, changed)
    except Unreadable:
        return
    assert all(isinstance(one, NamedVector) and np.isfinite(one.vector).all() and one.vector.any() for one in found)


def test_a_false_size_costs_no_memory() -> None:
    """Each of these claims terabytes."""
    lies = [
        tensors(entry(shape=(1 << 40,), offsets=(0, 1 << 42))),
        gguf_file(counts=(1 << 63, 0)),
        gguf_file(field("x", 9, struct.pack("<IQ", 0, 1 << 62))),
        next(data for data, words in NPY if "4,398" in words),
    ]
    tracemalloc.start()
    for name, data in zip(("safetensors", "gguf", "gguf", "npy"), lies, strict=True):
        with pytest.raises(Unreadable):
            read_vectors(name, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
