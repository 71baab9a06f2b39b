"""`converted` reads .pt files of vectors in the usual layouts without running their code; `write` writes one for lm-evaluation-harness."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load

from binnacle.client import Client
from binnacle.errors import BinnacleError
from binnacle.pickled import PLACES, Converted, converted
from binnacle.steered import write
from terms.components import COMPONENTS
from tests.api.conftest import FACTS
from tests.client.test_cli import Cli, binnacle, environment, read

__all__ = ["binnacle", "environment"]

ROWS = torch.arange(1, 13, dtype=torch.float32).reshape(4, 3)


class Intruder:
    """An object with a pickle that writes the file `intruded` when it is loaded normally."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (Path("intruded"), "x")


def saved(held: Any, file: Path, **how: Any) -> Converted:
    """Saves the object with torch and converts the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(held, file)
    return converted(file, **how)


def held_in(found: Converted) -> dict[str, list[float]]:
    """The vectors of the converted file, by tensor name."""
    return {name: array.tolist() for name, array in load(found.data).items()}


def layers_of(found: Converted) -> dict[str, list[float]]:
    """The vectors of the converted file, by layer."""
    return {name.removeprefix("layer"): row for name, row in held_in(found).items()}


def test_rows_are_layers_and_one_extra_first_row_is_the_embeddings(tmp_path: Path) -> None:
    every = {str(i): row for i, row in enumerate(ROWS.tolist())}
    found = saved(ROWS.bfloat16(), tmp_path / "a.pt", count=4)
    assert (layers_of(found), found.notes) == (every, ["Row N was taken as layer N."])
    persona = saved(torch.cat([torch.full((1, 3), 99.0), ROWS]), tmp_path / "evil_response_avg_diff.pt", count=4)
    assert layers_of(persona) == every
    assert persona.notes == ["Row 0, the embeddings, was left out; row N + 1 is layer N."]
    some = saved(torch.cat([torch.full((1, 3), 99.0), ROWS]), tmp_path / "b.pt", count=4, layers=[1, 3])
    assert layers_of(some) == {"1": every["1"], "3": every["3"]}
    named = saved(ROWS, tmp_path / "c.pt", count=30, layers=[9, 7, 20, 21])
    assert layers_of(named) == {"9": every["0"], "7": every["1"], "20": every["2"], "21": every["3"]}
    with pytest.raises(BinnacleError, match="4 rows; the model has 30 layers, so 30 rows or 31"):
        saved(ROWS, tmp_path / "d.pt", count=30)
    gap = saved(ROWS * torch.tensor([[1.0], [0.0], [1.0], [1.0]]), tmp_path / "e.pt", count=4)
    assert set(layers_of(gap)) == {"0", "2", "3"}
    assert "zero everywhere: row 0001" in gap.notes[1]


def test_given_layers_follow_the_order_in_the_file_not_of_the_sorted_names(tmp_path: Path) -> None:
    """The service reads tensors sorted by name, and `vec_10` comes before `vec_2` there."""

    def placed(held: Any, *layers: int) -> dict[int, list[float]]:
        found = saved(held, tmp_path / "a.pt", layers=layers)
        read_there = sorted(held_in(found).items())
        return {layer: row for layer, (_, row) in zip(found.fields["vector_layers"], read_there, strict=True)}

    assert placed({"vec_2": ROWS[0], "vec_10": ROWS[1]}, 2, 10) == {2: ROWS[0].tolist(), 10: ROWS[1].tolist()}
    with_zero = {"vec_2": ROWS[0], "none": torch.zeros(3), "vec_10": ROWS[1]}
    for layers in ((2, 5, 10), (2, 10)):
        assert placed(with_zero, *layers) == {2: ROWS[0].tolist(), 10: ROWS[1].tolist()}


def test_a_zero_row_is_left_out_together_with_its_layer(tmp_path: Path) -> None:
    rows = torch.cat([torch.zeros(1, 3), ROWS[:2]])
    found = saved(rows, tmp_path / "a.pt", layers=[10, 11, 12])
    assert layers_of(found) == {"11": ROWS[0].tolist(), "12": ROWS[1].tolist()}
    assert "zero everywhere: row 0000" in found.notes[0]
    with pytest.raises(BinnacleError, match="no vector to import that is not zero"):
        saved({3: torch.zeros(3), 4: ROWS[0]}, tmp_path / "b.pt", layers=[3])


@pytest.mark.parametrize("name", [3, "3", "layer3", "layer_3", "model.layers.3", "transformer.h.3"])
def test_the_layer_is_read_from_the_name_of_a_tensor(name: Any, tmp_path: Path) -> None:
    found = saved({name: ROWS[0], "note": "x"}, tmp_path / "a.pt")
    assert (held_in(found), found.notes) == ({"layer3": [1, 2, 3]}, ["Left out: note."])


def test_files_of_lm_evaluation_harness_and_a_stack_in_a_dictionary_are_read(tmp_path: Path) -> None:
    hooks = {"model.layers.2": {"steering_vector": ROWS[:1], "steering_coefficient": 4.0, "action": "add", "bias": None}}
    found = saved(hooks, tmp_path / "a.pt")
    assert held_in(found) == {"layer2": [1, 2, 3]}
    assert "model.layers.2.steering_coefficient" in found.notes[0]
    assert set(layers_of(saved({"vectors": ROWS, "trait": "x"}, tmp_path / "b.pt", count=4))) == {"0", "1", "2", "3"}


def test_a_file_for_lm_evaluation_harness_has_its_documented_layout(tmp_path: Path) -> None:
    file = write(ROWS[0].numpy(), tmp_path / "made" / "steer.pt", layer=2, component="residual", coefficient=-4)
    held = torch.load(file, weights_only=True)
    assert list(held) == ["layers.2"]
    vector = held["layers.2"].pop("steering_vector")
    assert held["layers.2"] == {"steering_coefficient": -4.0, "action": "add", "head_index": None, "bias": None}
    assert (vector.dtype, vector.tolist()) == (torch.float32, [1, 2, 3])
    assert layers_of(converted(file)) == {"2": [1, 2, 3]}
    with pytest.raises(BinnacleError, match="file_exists"):
        write(ROWS[1].numpy(), file, layer=2, component="residual", coefficient=-4)
    made = file.stat().st_mtime_ns
    assert write(ROWS[0].numpy(), file, layer=2, component="residual", coefficient=-4).stat().st_mtime_ns == made
    other = {"layer": 7, "component": "residual", "coefficient": 1.0, "hookpoint": "h.{layer}"}
    assert list(torch.load(write(ROWS[0].numpy(), tmp_path / "b.pt", **other), weights_only=True)) == ["h.7"]


@pytest.mark.parametrize(
    ("name", "component", "code"), [("a.pt", "attn_out", "not_steerable_there"), ("a.bin", "residual", "bad_name")]
)
def test_a_file_that_lm_evaluation_harness_could_not_read_is_not_written(
    name: str, component: str, code: str, tmp_path: Path
) -> None:
    with pytest.raises(BinnacleError) as error:
        write(ROWS[0].numpy(), tmp_path / name, layer=2, component=component, coefficient=1.0)
    assert error.value.code == code
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("hookpoint", ["h.{}", "h.{n}", "h.{layer", "h.{layer.x}"])
def test_a_hookpoint_with_other_braces_is_refused(hookpoint: str, tmp_path: Path) -> None:
    with pytest.raises(BinnacleError) as error:
        write(ROWS[0].numpy(), tmp_path / "a.pt", layer=2, component="residual", coefficient=1.0, hookpoint=hookpoint)
    assert error.value.code == "bad_hookpoint"
    assert not (tmp_path / "a.pt").exists()


def test_a_pickled_steering_vector_is_read_without_importing_its_package(tmp_path: Path) -> None:
    """The package `steering_vectors` is importable where the file is read, and is not imported even so."""
    package = tmp_path / "steering_vectors"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "steering_vector.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass SteeringVector:\n    layer_activations: dict\n"
        "    layer_type: str = 'decoder_block'\n"
    )
    script = (
        "import torch; from steering_vectors.steering_vector import SteeringVector as S\n"
        "torch.save(S({4: torch.ones(3), 5: torch.ones(3) * 2}, 'mlp'), 'sv.pt'); torch.save(S({4: torch.ones(3)}, 'odd'), 'odd.pt')"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    found = converted(tmp_path / "sv.pt")
    assert (held_in(found), found.fields) == ({"layer4": [1, 1, 1], "layer5": [2, 2, 2]}, {"component": "mlp_out"})
    reading = "import sys; from pathlib import Path; from binnacle.pickled import converted; converted(Path('sv.pt'))"
    subprocess.run([sys.executable, "-c", f"{reading}; assert 'steering_vectors' not in sys.modules"], cwd=tmp_path, check=True)
    with pytest.raises(BinnacleError, match="'odd'"):
        converted(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    ("position", "said"),
    [("response__5", "response[:5]"), ("response_all", "response[:]"), ("prompt_-1", "prompt[-1]"), ("response_2_7", None)],
)
def test_position_component_and_method_are_read_from_trait_interp_folders(
    position: str, said: str | None, tmp_path: Path
) -> None:
    found = saved(ROWS[0], tmp_path / "vectors" / position / "attn_contribution" / "probe" / "layer12.pt")
    assert held_in(found) == {"layer12": [1, 2, 3]}
    assert found.fields == {"component": "attn_contribution", "method": "probe"} | ({"position": said} if said else {})


@pytest.mark.parametrize(
    "held",
    [
        Intruder(),
        {"a": Intruder()},
        {"a": 3},
        {},
        b"no archive",
        {"a": torch.ones(2, 3), "b": ROWS},
        {"3": ROWS[0], 3: ROWS[1]},
        torch.ones(2, 2, 2),
        torch.ones(1, 4, 3),
        torch.tensor(1.0),
        torch.zeros(3),
        ROWS.to_sparse(),
        {"3": ROWS[0].to_sparse()},
        ROWS.to(torch.complex64),
        ROWS.to("meta"),
    ],
)
def test_a_file_with_anything_else_is_refused_and_its_code_not_run(
    held: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.pt"
    if isinstance(held, dict | torch.Tensor):
        torch.save(held, file)
    else:
        file.write_bytes(held if isinstance(held, bytes) else pickle.dumps(held))
    with pytest.raises(BinnacleError, match="bad_pt"):
        converted(file)
    assert not (tmp_path / "intruded").exists()


def test_without_torch_the_error_says_what_to_install(tmp_path: Path) -> None:
    torch.save(ROWS, tmp_path / "a.pt")
    script = "import sys; sys.modules['torch'] = None; from pathlib import Path; from binnacle.pickled import converted; converted(Path('a.pt'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Install it: pip install 'binnacle-interp-client[pt]'" in done.stderr.splitlines()[-1]


def test_a_pt_file_is_imported_with_all_its_layers(client: Client, binnacle: Cli, tmp_path: Path) -> None:
    numbers = torch.randn(FACTS["layers"] + 1, FACTS["hidden_size"], generator=torch.Generator().manual_seed(1))
    torch.save(numbers, tmp_path / "mine.pt")
    (tmp_path / "MINE.PT").write_bytes((tmp_path / "mine.pt").read_bytes())
    notes: list[str] = []
    found = client.import_vectors(tmp_path / "MINE.PT", "demo", name="mine", on_note=notes.append)
    assert [one["layer"] for one in found] == list(range(FACTS["layers"]))
    assert len(notes) == 1
    for one in found:
        row = numbers[one["layer"] + 1]
        assert np.allclose(client.load(one), (row / row.norm()).numpy(), atol=1e-6)
    told = binnacle("vectors", "import", "mine.pt", "--model", "demo", "--layers", "1-2", "--method", "theirs", "--json")
    assert [(one["layer"], one["method"]) for one in read(told)] == [(1, "theirs"), (2, "theirs")]
    assert "the embeddings, was left out" in told.stderr


def test_the_client_knows_every_component_of_the_service() -> None:
    """It repeats the list, because it is installed without the server's packages."""
    assert sorted(PLACES) == sorted(COMPONENTS)
