"""Edits of a model's folder (entries of a config, tensors of the weights), and the fault that it is refused with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from workers.lm.errors import ModelFault
from workers.lm.inspection import inspect_folder
from workers.lm.loading import load


def edit_json(file: Path, **entries: Any) -> None:
    """Set entries of a JSON file, which need not exist; None removes one."""
    old = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({name: value for name, value in (old | entries).items() if value is not None}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Writes the weight file again after `change` edited its tensors."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def fault_of(folder: Path) -> ModelFault:
    """The fault that inspection raises; loading must raise the same."""
    with pytest.raises(ModelFault) as inspecting:
        inspect_folder(folder)
    with pytest.raises(ModelFault) as loading:
        load(folder)
    assert loading.value.code == inspecting.value.code
    return inspecting.value
