"""A .pt file is converted on the machine that has it: tensors alone, never other pickled objects."""

import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from binnacle.arrays import converted
from binnacle.client import Client
from binnacle.errors import BinnacleError
from tests.api.conftest import FACTS


class Intruder:
    """What a hostile pickle would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (Path("intruded"), "x")


def test_a_tensor_becomes_npy_and_named_tensors_safetensors(tmp_path: Path) -> None:
    rows = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    torch.save(rows, tmp_path / "one.pt")
    name, data = converted(tmp_path / "one.pt")
    assert name == "one.npy"
    assert np.array_equal(np.load(BytesIO(data)), rows.float().numpy())
    torch.save({"layer.3": rows[0], 5: rows[1]}, tmp_path / "several.pt")
    name, data = converted(tmp_path / "several.pt")
    assert name == "several.safetensors"
    assert {key: array.tolist() for key, array in load(data).items()} == {"layer.3": [0, 1, 2], "5": [3, 4, 5]}


@pytest.mark.parametrize("held", [Intruder(), {"a": Intruder()}, {"a": 3}, {}, b"no archive"])
def test_a_file_that_holds_anything_else_is_refused_and_not_run(
    held: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.pt"
    torch.save(held, file) if isinstance(held, dict) else file.write_bytes(
        held if isinstance(held, bytes) else pickle.dumps(held)
    )
    with pytest.raises(BinnacleError, match="bad_pt"):
        converted(file)
    assert not (tmp_path / "intruded").exists()


def test_a_pt_file_is_imported_as_the_vector_that_it_holds(client: Client, tmp_path: Path) -> None:
    numbers = torch.linspace(-1, 1, FACTS["hidden_size"])
    torch.save(numbers[None], tmp_path / "mine.pt")
    [vector] = client.import_vectors(tmp_path / "mine.pt", "demo", layers=[2], name="mine")
    assert np.allclose(client.load(vector), (numbers / numbers.norm()).numpy(), atol=1e-6)
