"""The cache of loaded models: models stay while they fit and are used, the least recently used leaves first, and changed weights are never
served."""

import gc
import shutil
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import workers.shelf
from app.db import make_engine, make_sessions
from app.settings import Settings
from workers.lm.cache import ModelCache, ModelKey
from workers.lm.errors import ModelFault
from workers.lm.inspection import inspect_folder
from workers.lm.loading import load
from workers.lm.model import LanguageModel


class Shelf:
    """A cache with models of equal size, a clock that is set by hand, and the loads in order."""

    def __init__(self, folders: dict[str, Path], budget_models: float) -> None:
        self.now = 0.0
        self.loads: list[str] = []
        self.folders = folders
        self.facts = {name: inspect_folder(folder) for name, folder in folders.items()}
        self.size = next(iter(self.facts.values())).bytes_in("float32") + 4096
        self.cache = ModelCache(int(budget_models * self.size), clock=lambda: self.now)

    def key(self, name: str) -> ModelKey:
        return ModelKey(str(self.folders[name]), self.facts[name].weight_hash, "float32")

    def get(self, name: str) -> LanguageModel:
        def loader() -> LanguageModel:
            self.loads.append(name)
            return load(self.folders[name], facts=self.facts[name])

        return self.cache.get(self.key(name), loader, expected_bytes=self.facts[name].bytes_in("float32"))

    def names(self) -> list[str]:
        return [Path(resident.key.path).name for resident in self.cache.residents()]


@pytest.fixture
def shelf(tiny_folder: Callable[..., Path], tmp_path: Path) -> Shelf:
    folders = {name: shutil.copytree(tiny_folder("llama", seed=i), tmp_path / name) for i, name in enumerate("abc")}
    return Shelf(folders, 2.5)


def test_a_loaded_model_is_served_again_and_the_least_recently_used_leaves(shelf: Shelf) -> None:
    a = shelf.get("a")
    shelf.get("b")
    assert shelf.get("a") is a
    shelf.get("c")
    assert shelf.loads == ["a", "b", "c"]
    assert shelf.names() == ["a", "c"]
    assert shelf.get("a") is a
    shelf.get("b")
    assert shelf.names() == ["a", "b"]
    assert shelf.cache.resident_bytes <= shelf.cache.budget_bytes


def test_room_is_made_before_the_next_model_is_loaded(shelf: Shelf) -> None:
    """Two models above the budget at once, even while loading only, may not fit the device."""
    shelf.get("a")
    shelf.get("b")
    seen: list[list[str]] = []

    def loader() -> LanguageModel:
        seen.append(shelf.names())
        return load(shelf.folders["c"])

    shelf.cache.get(shelf.key("c"), loader, expected_bytes=shelf.facts["c"].bytes_in("float32"))
    assert seen == [["b"]]


def test_an_unloaded_model_frees_its_memory(shelf: Shelf) -> None:
    gone = weakref.ref(shelf.get("a").model.lm_head.weight)
    assert gone() is not None
    shelf.cache.drop(shelf.key("a"))
    gc.collect()
    assert gone() is None
    shelf.cache.drop(shelf.key("a"))
    assert shelf.names() == []


def test_idle_models_are_unloaded(shelf: Shelf) -> None:
    shelf.get("a")
    shelf.now = 50
    shelf.get("b")
    shelf.now = 100
    assert [r.idle_seconds for r in shelf.cache.residents()] == [100, 50]
    assert shelf.cache.unload_idle(60) == [shelf.key("a")]
    assert shelf.names() == ["b"]
    assert shelf.cache.unload_idle(60) == []


def test_a_model_larger_than_the_budget_is_refused_with_the_numbers_and_unloads_no_other(shelf: Shelf) -> None:
    shelf.get("a")
    with pytest.raises(ModelFault, match=r"model_too_large: .* 1,000 MiB; this worker may hold \d+ MiB"):
        shelf.cache.get(shelf.key("b"), lambda: shelf.get("b"), expected_bytes=1000 * 2**20)
    assert shelf.names() == ["a"]
    assert shelf.loads == ["a"]


def test_changed_weights_are_not_served_from_memory_nor_loaded(shelf: Shelf) -> None:
    shelf.get("a")
    weights = shelf.folders["a"] / "model.safetensors"
    tensors = {name: tensor + 1 for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelFault, match="weights_changed"):
        shelf.get("a")
    assert shelf.names() == []


def test_touched_files_are_loaded_again_once(shelf: Shelf) -> None:
    shelf.get("a")
    (shelf.folders["a"] / "model.safetensors").touch()
    shelf.get("a")
    shelf.get("a")
    assert shelf.loads == ["a", "a"]


def test_a_model_with_touched_files_is_freed_before_it_is_loaded_again(shelf: Shelf) -> None:
    """Also where only the garbage collector can free it: both at once may not fit the device."""
    lm = shelf.get("a")
    lm.model.itself = [lm.model]  # a reference cycle
    gone = weakref.ref(lm.model.lm_head.weight)
    del lm
    (shelf.folders["a"] / "model.safetensors").touch()
    seen: list[object] = []

    def loader() -> LanguageModel:
        seen.append(gone())
        return load(shelf.folders["a"], facts=shelf.facts["a"])

    shelf.cache.get(shelf.key("a"), loader, expected_bytes=shelf.facts["a"].bytes_in("float32"))
    assert seen == [None]


def hooked(lm: LanguageModel) -> weakref.ref[torch.Tensor]:
    """Leaves a hook on a model that only the garbage collector can free; returns a reference to its weights."""
    lm.model.lm_head.register_forward_hook(lambda *_: None)
    lm.model.itself = [lm.model]  # a reference cycle
    return weakref.ref(lm.model.lm_head.weight)


def test_a_model_with_a_hook_left_on_it_is_freed_and_not_served_again(shelf: Shelf) -> None:
    gone = hooked(shelf.get("a"))
    with pytest.raises(ModelFault, match="hooks_left"):
        shelf.get("a")
    assert gone() is None
    shelf.get("a")
    assert shelf.loads == ["a", "a"]


def test_a_failed_load_leaves_the_other_models(shelf: Shelf) -> None:
    shelf.get("a")

    def fail() -> LanguageModel:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        shelf.cache.get(shelf.key("b"), fail, expected_bytes=1)
    assert shelf.names() == ["a"]
    shelf.get("b")
    assert shelf.names() == ["a", "b"]


def test_every_model_on_which_a_job_left_a_hook_is_freed(shelf: Shelf) -> None:
    """In the shelf of a worker, because the job of a study can take several models."""
    kept = workers.shelf.Shelf(
        Settings(model_budget_bytes=10 * shelf.size), make_sessions(make_engine("postgresql+psycopg://nowhere/none"))
    )
    for name in "abc":
        key = shelf.key(name)
        kept._taken[key] = kept._cache.get(key, partial(load, shelf.folders[name]), expected_bytes=shelf.size)
        kept._names[key] = name
    gone = [hooked(kept._taken[shelf.key(name)]) for name in "ac"]
    with pytest.raises(ModelFault) as left:
        kept.after_job()
    assert left.value.code == "hooks_left"
    assert [one() for one in gone] == [None, None]
    assert kept.names() == ["b"]
    kept.after_job()
