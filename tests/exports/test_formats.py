"""Vectors written in each format are read back unchanged, by us and by the formats' own libraries or rules."""

import hashlib
import io
import subprocess
import sys
import warnings
from pathlib import Path

import gguf
import numpy as np
import pytest
import safetensors.numpy

from app.formats.registry import FORMATS, read_vectors, recognised, write_vectors
from app.formats.tensorfile import to_bytes
from app.formats.vectors import NamedVector, Origin, Unreadable, Unwritable

ORIGIN = Origin("gemma-3-4b", "Gemma3ForCausalLM", "a" * 64, "refusal", "b" * 64)


def vector(seed: int, width: int = 16) -> np.ndarray:
    """A random unit vector."""
    found = np.random.default_rng(seed).standard_normal(width).astype(np.float32)
    return found / np.linalg.norm(found)


def layers(*wanted: int, component: str = "residual", method: str = "probe_cleaned") -> list[NamedVector]:
    """A named vector for each layer; the layer is its seed."""
    return [NamedVector(vector(layer), layer, component, method, "response[:5]") for layer in wanted]


def import_as_repeng(path: Path) -> tuple[str, dict[int, np.ndarray]]:
    """What repeng 0.4.0's `ControlVector.import_gguf` asks of a file, in our words: the architecture must be `controlvector` (it warns
    of another), `controlvector.model_hint` must be there, and each tensor with a name that begins with `direction.` has a whole number as the
    second part of its name; its data are the direction of that layer."""
    reader = gguf.GGUFReader(path)
    architecture = reader.get_field("general.architecture")
    assert architecture is not None
    assert bytes(architecture.parts[-1]).decode() == "controlvector"
    hint = reader.get_field("controlvector.model_hint")
    assert hint is not None
    found = {int(one.name.split(".")[1]): np.array(one.data) for one in reader.tensors if one.name.startswith("direction.")}
    return bytes(hint.parts[-1]).decode(), found


def load_as_llama_cpp(path: Path) -> np.ndarray:
    """What llama.cpp's `--control-vector` asks: every tensor is `direction.N` with N >= 1, float32, one dimension, all of one width; N is
    put in row N - 1, which is added to the output of block N (rows without one stay zero). Returns the rows."""
    tensors = gguf.GGUFReader(path).tensors
    assert tensors
    rows = np.zeros((max(int(one.name.split(".")[1]) for one in tensors), tensors[0].n_elements), np.float32)
    for one in tensors:
        prefix, _, number = one.name.partition(".")
        assert prefix == "direction"
        assert int(number) >= 1
        assert (one.tensor_type, len(one.shape)) == (gguf.GGMLQuantizationType.F32, 1)
        rows[int(number) - 1] = one.data
    return rows


@pytest.mark.parametrize("name", ["safetensors", "gguf"])
def test_vectors_are_read_back_as_they_were_written(name: str) -> None:
    sent = layers(1, 2, 11)
    data, _, _ = write_vectors(name, sent, ORIGIN)
    assert recognised(data) == name
    back = {one.layer: one for one in read_vectors(name, data)}
    assert sorted(back) == [1, 2, 11]
    for one in sent:
        np.testing.assert_array_equal(back[one.layer].vector, one.vector)
        assert back[one.layer].component == "residual"
        if name == "safetensors":
            assert (back[one.layer].key, back[one.layer].position) == (one.key, "response[:5]")


def test_each_row_of_a_safetensors_tensor_is_a_vector() -> None:
    """A tensor [1, D] is one vector with its name's layer; [K, D] are K of them, in order."""
    rows = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    [alone] = read_vectors("safetensors", safetensors.numpy.save({"layer4": rows[:1]}))
    assert (alone.layer, alone.vector.tolist()) == (4, [1, 2, 3])
    back = read_vectors("safetensors", safetensors.numpy.save({"x": rows}))
    assert [(one.name, one.vector.tolist()) for one in back] == [("x row 0", [1, 2, 3]), ("x row 1", [4, 5, 6])]


def test_a_control_vector_states_operation_site_and_layer_and_reading_heeds_them(tmp_path: Path) -> None:
    data, _, _ = write_vectors("gguf", layers(3, component="mlp_out"), ORIGIN)
    (tmp_path / "v.gguf").write_bytes(data)
    fields = gguf.GGUFReader(tmp_path / "v.gguf").fields
    said = {key.removeprefix("controlvector."): one.contents() for key, one in fields.items() if key.startswith("controlvector.")}
    assert said == {"model_hint": "gemma3", "layer_count": 1, "operation": "add", "layer_offset": 0, "site": "mlp_out"}
    [back] = read_vectors("gguf", data)
    assert (back.layer, back.component) == (3, "mlp_out")

    def written(**keys: int | str) -> bytes:
        writer = gguf.GGUFWriter(tmp_path / "w.gguf", "controlvector")
        for key, value in keys.items():
            (writer.add_int32 if isinstance(value, int) else writer.add_string)(f"controlvector.{key}", value)  # type: ignore[operator]
        writer.add_tensor("direction.3", vector(3))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return (tmp_path / "w.gguf").read_bytes()

    assert [one.layer for one in read_vectors("gguf", written(layer_offset=-1))] == [2]
    for keys, words in (({"layer_offset": -4}, "layer -1; layers begin at 0"), ({"site": "sky"}, "the site 'sky'")):
        with pytest.raises(Unreadable, match=words):
            read_vectors("gguf", written(**keys))


def test_the_library_reads_our_safetensors(tmp_path: Path) -> None:
    sent = layers(0, 3, 10) + layers(3, method="random__seed2") + layers(2, component="k_proj")
    data, media, notes = write_vectors("safetensors", sent, ORIGIN)
    assert (media, notes) == ("application/vnd.safetensors", [])
    found = safetensors.numpy.load(data)
    assert set(found) == {one.key for one in sent}
    assert "response[:5]/residual/probe_cleaned/10" in found
    for one in sent:
        np.testing.assert_array_equal(found[one.key], one.vector)
    (tmp_path / "v.safetensors").write_bytes(data)
    with safetensors.safe_open(tmp_path / "v.safetensors", framework="np") as file:
        assert file.metadata() == {"model": "gemma-3-4b", "weight_hash": "a" * 64, "trait": "refusal", "trait_version": "b" * 64}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_safetensors_that_the_library_wrote_are_read(dtype: str) -> None:
    sent = {"layer4": vector(4).astype(dtype), "other": vector(5).astype(dtype)}
    back = read_vectors("safetensors", safetensors.numpy.save(sent, {"format": "pt"}))
    assert [(one.name, one.layer) for one in back] == [("layer4", 4), ("other", None)]
    np.testing.assert_array_equal(back[0].vector, sent["layer4"].astype(np.float32))


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    values = np.array([1.0, -2.5, 3e38, 1e-30], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    header = b'{"x":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}'
    data = len(header).to_bytes(8, "little") + header + halves.tobytes()
    (back,) = read_vectors("safetensors", data)
    np.testing.assert_allclose(back.vector, values, rtol=2**-7)  # 8 bits of significand


def test_numpy_reads_our_npy() -> None:
    (one,) = layers(7)
    data, _, notes = write_vectors("npy", [one], ORIGIN)
    np.testing.assert_array_equal(np.load(io.BytesIO(data), allow_pickle=False), one.vector)
    assert notes == []
    several, _, notes = write_vectors("npy", layers(2, 1), ORIGIN)
    np.testing.assert_array_equal(np.load(io.BytesIO(several)), [vector(2), vector(1)])
    assert notes == ["Rows, in order: response[:5]/residual/probe_cleaned/2, response[:5]/residual/probe_cleaned/1"]
    np.testing.assert_array_equal([row.vector for row in read_vectors("npy", several)], [vector(2), vector(1)])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_npy_of_any_order_and_float_is_read(order: str, dtype: str) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]], dtype=dtype, order=order)
    out = io.BytesIO()
    np.save(out, array)
    back = read_vectors("npy", out.getvalue())
    np.testing.assert_array_equal([row.vector for row in back], [[1, 2, 3], [4, 5, 6]])


def test_a_control_vector_is_what_repeng_and_llama_cpp_read(tmp_path: Path) -> None:
    sent = layers(0, 3, 1, 7)
    data, _, notes = write_vectors("gguf", sent, ORIGIN)
    assert any("Layer 0 is left out" in note for note in notes)
    path = tmp_path / "v.gguf"
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hint, directions = import_as_repeng(path)
    assert (hint, sorted(directions)) == ("gemma3", [1, 3, 7])
    for layer, direction in directions.items():
        assert direction.dtype == np.float32
        np.testing.assert_array_equal(direction, vector(layer))
    rows = load_as_llama_cpp(path)
    assert rows.shape == (7, 16)
    np.testing.assert_array_equal(rows[2], vector(3))
    np.testing.assert_array_equal(rows[1], np.zeros(16))
    count = gguf.GGUFReader(path).get_field("controlvector.layer_count")
    assert count is not None
    assert count.contents() == 3


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_equal_vectors_are_equal_bytes_in_another_process_too(name: str) -> None:
    """Artifacts are stored under their hash; the library's own metadata come in another order at every call."""
    script = (
        "import hashlib; from tests.exports.test_formats import *; from app.formats.registry import write_vectors;"
        f"print(hashlib.sha256(write_vectors({name!r}, layers(1, 2), ORIGIN)[0]).hexdigest())"
    )
    others = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert {one.strip() for one in others} == {hashlib.sha256(write_vectors(name, layers(1, 2), ORIGIN)[0]).hexdigest()}


def test_the_order_of_the_vectors_does_not_change_files_that_name_them() -> None:
    for name in ("safetensors", "gguf"):
        assert write_vectors(name, layers(1, 2, 10), ORIGIN)[0] == write_vectors(name, layers(10, 2, 1), ORIGIN)[0]


def test_what_a_format_cannot_hold_is_refused_by_name() -> None:
    two = layers(1) + layers(1, method="mean_diff")
    refusals = [
        ("gguf", layers(0), "layer 0"),
        ("gguf", two, "2 kinds: response"),
        ("gguf", layers(1, 1), "a layer was given twice"),
        ("gguf", layers(1, component="k_proj"), "k_proj has other coordinates"),
        ("safetensors", layers(1, 1), "same position, component, method and layer"),
        ("safetensors", [NamedVector(vector(1))], "has no key"),
        ("npy", [*layers(1), NamedVector(vector(1, 8), 2, "k_proj", "probe")], "these have 8, 16"),
        ("npy", [], "no vector"),
    ]
    for name, vectors, words in refusals:
        with pytest.raises(Unwritable, match=words):
            write_vectors(name, vectors, ORIGIN)


def test_arrays_of_any_shape_make_a_tensor_file_and_complex_ones_are_refused() -> None:
    arrays = {"b": np.arange(6, dtype=np.int64).reshape(2, 3), "a": np.float32(2.5) * np.ones(()), "c": np.array([True, False])}
    found = safetensors.numpy.load(to_bytes(arrays, {"z": "1", "a": "2"}))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(Unwritable, match="complex128"):
        to_bytes({"x": np.ones(2, complex)})
