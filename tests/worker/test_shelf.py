"""The memory budget of a worker counts a model in the dtype in which it is loaded, not in that of its files."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.db import make_engine, make_sessions
from app.settings import Settings
from shipped import model_folder
from terms.values import JsonObject
from tests.api.conftest import PEPPER
from workers import shelf as shelves
from workers.lm.errors import ModelFault
from workers.lm.inspection import inspect_folder
from workers.lm.loading import load
from workers.shelf import Shelf


@pytest.mark.parametrize(("stored", "dtype"), [(torch.float32, "bfloat16"), (torch.bfloat16, "float32")])
def test_the_budget_counts_weights_as_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: torch.dtype, dtype: str
) -> None:
    folder = shutil.copytree(model_folder("demo-plain"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({name: one.to(stored) for name, one in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    facts = inspect_folder(folder)
    loads = []

    def counted(*args: object, **named: object) -> object:
        loads.append(args)
        return load(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shelves, "load", counted)

    class Known(Shelf):
        def facts(self, name: str, *, unproven: bool = False) -> JsonObject:
            return {**facts.to_dict(), "source": str(folder), "revision": None}

    def shelf(budget: int) -> Shelf:
        address = {"database_url": "postgresql+psycopg://x/x", "broker_url": "redis://x", "storage_url": f"file://{tmp_path}"}
        settings = Settings(**address, key_pepper=PEPPER, home=tmp_path, dtype=dtype, model_budget_bytes=budget)
        return Known(settings, make_sessions(make_engine(address["database_url"])))  # never connects: the facts are known

    needed = facts.bytes_in(dtype)
    with pytest.raises(ModelFault, match="weights take"):
        shelf(int(0.7 * needed)).take("a")
    assert not loads, "it must be refused before it is loaded"
    assert shelf(int(1.2 * needed)).take("a").resident_bytes <= 1.2 * needed
