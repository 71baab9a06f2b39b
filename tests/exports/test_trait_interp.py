"""An export job's files are where the programs that they are for look, and are read as those programs read them."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from tests.api.lives import calibration_file
from tests.exports.made import METHODS, POSITIONS, extraction, keys
from tests.exports.test_formats import vector
from tests.ml.fake_context import FakeContext
from workers.handlers.export import run
from workers.job import JobFault, Outcome


def spec(form: str, **chosen: Any) -> dict[str, Any]:
    every = dict.fromkeys(("positions", "components", "methods", "layers"))
    return {
        "kind": "export", "format": form, "extraction": "job_1", "model": "demo", "architecture": "Gemma3ForCausalLM",
        "weight_hash": "a" * 64, "trait": {"name": "refusal", "version": "b" * 64}, **every, **chosen,
    }  # fmt: skip


def export(form: str, **chosen: Any) -> tuple[str, bytes, dict[str, Any]]:
    """Name and bytes of the artifact, and the result."""
    outcome = run(spec(form, **chosen), FakeContext(None, facts={}, artifacts=extraction()))  # type: ignore[arg-type]
    (file,) = outcome.artifacts
    assert outcome.result["export"]["file"] == file.name
    assert isinstance(file.data, bytes)
    return file.name, file.data, outcome.result["export"]


def unpacked(data: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [member.name for member in archive] == sorted(member.name for member in archive)
        assert {(member.mtime, member.uid, member.uname) for member in archive} == {(0, 0, "")}
        archive.extractall(folder, filter="data")
    return folder


def vector_folder(root: Path, position: str, component: str, method: str) -> Path:
    """Where trait-interp's `get_vector_dir` looks: `[:]` is `_all`, `[` and `:` are `_`, `]` is nothing."""
    known = {"response[:5]": "response__5", "response[:]": "response_all", "prompt[-1]": "prompt_-1"}
    return root / "vectors" / known[position] / component / method


def test_each_vector_is_found_and_loaded_as_trait_interp_does(tmp_path: Path) -> None:
    """Its `load_vector_with_baseline`: torch.load(weights_only=True), then metadata["layers"][str(layer)]["baseline"]."""
    name, data, result = export("trait-interp")
    assert name == "refusal.tar.gz"
    root = unpacked(data, tmp_path)
    places = keys() + keys("k_proj")
    assert result["vectors"] == len(places) == len(list(root.rglob("layer*.pt")))
    for number, (position, component, method, layer) in enumerate(places):
        folder = vector_folder(root, position, component, method)
        tensor = torch.load(folder / f"layer{layer}.pt", weights_only=True)
        assert (tensor.shape, tensor.dtype) == ((8,), torch.float32)
        np.testing.assert_array_equal(tensor.numpy(), vector(number, 8))
        metadata = json.loads((folder / "metadata.json").read_text())
        assert metadata["layers"][str(layer)]["baseline"] == -0.5 * number
        assert metadata["layers"][str(layer)]["norm"] == 2.0 + number
        assert {key: metadata[key] for key in ("model", "trait", "method", "component", "position")} == {
            "model": "demo", "trait": "refusal", "method": method, "component": component, "position": position,
        }  # fmt: skip
        assert list(metadata["layers"]) == ["0", "3", "10"]
        assert ("bias" in metadata["layers"][str(layer)]) == (method == "probe")
    answers = json.loads((root / "responses" / "pos.json").read_text())
    assert [(one["scenario_idx"], one["prompt"], one["response"]) for one in answers] == [
        (0, "positive 0", " yes"),
        (1, "positive 1", " yes"),
    ]
    assert len(json.loads((root / "responses" / "neg.json").read_text())) == 2


@pytest.mark.parametrize("form", ["trait-interp", "pt", "gguf", "npy"])
def test_the_same_export_is_the_same_bytes(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hashlib.sha256(export(form)[1]).hexdigest()
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert hashlib.sha256(export(form)[1]).hexdigest() == first


def test_a_state_dict_holds_every_vector_by_key() -> None:
    name, data, _ = export("pt", methods=["probe"], positions=["response[:5]"], components=["residual"])
    assert name == "refusal.pt"
    found = torch.load(io.BytesIO(data), weights_only=True)
    assert sorted(found) == [f"response[:5]/residual/probe/{layer}" for layer in ("0", "10", "3")]
    np.testing.assert_array_equal(found["response[:5]/residual/probe/3"].numpy(), vector(1, 8))


def test_control_vectors_are_one_file_a_kind_and_say_what_they_leave_out(tmp_path: Path) -> None:
    name, data, result = export("gguf")
    assert name == "refusal.gguf.tar.gz"
    root = unpacked(data, tmp_path)
    assert len(list(root.rglob("*.gguf"))) == len(POSITIONS) * len(METHODS)
    reader = gguf.GGUFReader(root / "response[:5]" / "residual" / "mean_diff_top1.gguf")
    assert sorted(tensor.name for tensor in reader.tensors) == ["direction.10", "direction.3"]
    assert reader.get_field("controlvector.model_hint").contents() == "gemma3"
    assert any("36 of 54 vectors are left out" in note for note in result["notes"])
    assert result["vectors"] == 18  # no k_proj, and no layer 0, which llama.cpp refuses
    name, data, _ = export("gguf", methods=["probe"], positions=["response[:]"])  # layer 3 of these is keys()[10]
    (tmp_path / "one.gguf").write_bytes(data)
    tensors = {one.name: one.data for one in gguf.GGUFReader(tmp_path / "one.gguf").tensors}
    assert name == "refusal.gguf"
    np.testing.assert_array_equal(tensors["direction.3"], vector(10, 8))


def test_arrays_are_a_file_each(tmp_path: Path) -> None:
    name, data, _ = export("npy", layers=[3], methods=["probe"])
    root = unpacked(data, tmp_path)
    assert (name, len(list(root.rglob("*.npy")))) == ("refusal.npy.tar.gz", 6)
    np.testing.assert_array_equal(np.load(root / "response[:5]" / "residual" / "probe" / "3.npy"), vector(1, 8))


def exported_calibrations(*labels: tuple[str, str]) -> Outcome:
    artifacts = {
        (f"job_{i}", "calibration.json"): calibration_file(experiment, variant) for i, (experiment, variant) in enumerate(labels)
    }
    asked = {"kind": "export", "format": "trait-interp", "model": "demo", "calibrations": [{"job": job} for job, _ in artifacts]}
    return run(asked, FakeContext(None, facts={}, artifacts=artifacts))  # type: ignore[arg-type]


def test_calibrations_of_one_experiment_lie_side_by_side_where_trait_interp_reads_them(tmp_path: Path) -> None:
    outcome = exported_calibrations(("gemma", "base"), ("gemma", "instruct"))
    [file] = outcome.artifacts
    assert isinstance(file.data, bytes)
    unpacked(file.data, tmp_path)
    for variant in ("base", "instruct"):
        found = tmp_path / f"experiments/gemma/inference/{variant}/massive_activations/calibration.json"
        assert found.read_bytes() == calibration_file("gemma", variant)


@pytest.mark.parametrize(
    ("labels", "code"),
    [((("a", "b"), ("a", "b")), "same_folder"), ((("..", "b"),), "no_folder"), ((("a", "b/../c"),), "no_folder")],
)
def test_labels_that_share_a_folder_or_leave_it_are_refused(labels: tuple[tuple[str, str], ...], code: str) -> None:
    with pytest.raises(JobFault) as refused:
        exported_calibrations(*labels)
    assert refused.value.code == code
