"""The files that are hashed and scanned are those that are loaded; a folder that leaves this in doubt is refused with what to do."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi

from tests.ml.tiny_models import LAYERS, tiny_tokenizer
from tests.proofs.twins import edit_json, edit_weights, fault_of
from workers.lm import loading
from workers.lm.errors import ModelFault
from workers.lm.facts import facts_from_dict
from workers.lm.hubfiles import look_up
from workers.lm.inspection import files_changed, inspect_folder
from workers.lm.loading import confirm, load

Folders = Callable[..., Path]
USER = [{"role": "user", "content": "hello"}]


def sharded(folder: Path, into: Path) -> Path:
    """The same model with its weights in several files and an index."""
    load(folder).model.save_pretrained(into, max_shard_size="100KB")
    tiny_tokenizer().save_pretrained(into)
    return into


def test_a_whole_file_beside_shards_is_refused(copied: Folders, tmp_path: Path) -> None:
    """The library loads the whole file; hashing the shards instead let a NaN and a later swap pass under the old hash."""
    shards = sharded(copied(), tmp_path / "shards")
    whole = (tmp_path / "model" / "model.safetensors").rename(shards / "model.safetensors")
    assert (fault := fault_of(shards)).code == "two_weight_sets"
    assert "model-00001-of-" in fault.sentence
    assert "Keep one" in fault.sentence
    for shard in list(shards.glob("model-*.safetensors"))[1:]:
        shard.unlink()
    assert fault_of(shards).code == "two_weight_sets", "one shard left behind may be all that another program needs"
    whole.unlink()
    assert fault_of(shards).code == "no_weights"


def test_an_index_left_behind_without_its_shards_does_no_harm(copied: Folders, tmp_path: Path) -> None:
    folder = copied()
    expected = inspect_folder(folder)
    shards = sharded(folder, tmp_path / "shards")
    (shards / "model.safetensors.index.json").rename(folder / "model.safetensors.index.json")
    facts = inspect_folder(folder)
    assert facts.weight_hash == expected.weight_hash
    edit_weights(folder, lambda tensors: tensors["lm_head.weight"][0, 0].fill_(float("nan")))
    assert fault_of(folder).code == "weights_not_finite", "what is loaded is what is scanned"


def test_an_index_of_the_whole_file_is_one_set(copied: Folders) -> None:
    folder = copied()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert inspect_folder(folder).bytes == (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize("named", ["other.safetensors", "adapter_model.bin", "deep/model.safetensors"])
def test_a_config_that_names_other_weights_is_refused(copied: Folders, named: str) -> None:
    """One of the names is a pickle file, which the library opens although it is asked for safetensors only."""
    folder = copied()
    edit_json(folder / "config.json", transformers_weights=named)
    (folder / named).parent.mkdir(exist_ok=True)
    (folder / named).write_bytes((folder / "model.safetensors").read_bytes())
    assert (fault := fault_of(folder)).code == "two_weight_sets"
    assert f'"{named}"' in fault.sentence


def test_a_config_that_names_the_weights_that_are_there_is_fine(copied: Folders) -> None:
    folder = copied()
    edit_json(folder / "config.json", transformers_weights="model.safetensors")
    assert load(folder).layout.n_layers == LAYERS


def test_an_adapter_beside_base_weights_is_refused(copied: Folders) -> None:
    folder = copied()
    edit_json(folder / "adapter_config.json", peft_type="LORA", r=8)
    assert (fault := fault_of(folder)).code == "adapter_not_merged"
    assert "merge_and_unload" in fault.sentence


def test_a_config_swapped_under_known_weights_is_a_change(copied: Folders) -> None:
    """Another rotary base makes another model of the same weights."""
    folder = copied()
    facts = inspect_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    edit_json(folder / "config.json", rope_parameters={**config["rope_parameters"], "rope_theta": 500.0})
    with pytest.raises(ModelFault, match=r"weights_changed: .*config"):
        load(folder, facts=facts)
    assert confirm(folder, replace(facts, config_hash="")).weight_hash == facts.weight_hash, (
        "facts of an older inspection stay usable"
    )


def test_a_template_of_the_folder_of_templates_is_a_file_of_the_model(copied: Folders) -> None:
    """The library prefers additional_chat_templates/default.jinja to chat_template.jinja: editing it changes every prompt."""
    folder = copied()
    without = inspect_folder(folder)
    template = folder / "additional_chat_templates" / "default.jinja"
    template.parent.mkdir()
    template.write_text("{% for m in messages %}one {{ m['content'] }}{% endfor %}")
    assert files_changed(folder, without.files)
    facts = inspect_folder(folder)
    assert load(folder).tokenizer.apply_chat_template(USER, tokenize=False) == "one hello"
    assert facts.files[0].name == "additional_chat_templates/default.jinja"
    template.write_text("{% for m in messages %}two {{ m['content'] }}{% endfor %}")
    assert files_changed(folder, facts.files)
    assert len({one.tokenizer_hash for one in (without, facts, inspect_folder(folder))}) == 3
    shutil.rmtree(template.parent)
    assert inspect_folder(folder).tokenizer_hash == without.tokenizer_hash


def test_a_link_to_itself_and_a_folder_that_cannot_be_read_are_refused(copied: Folders) -> None:
    folder = copied()
    (folder / "a").symlink_to("a")
    assert (fault := fault_of(folder)).code == "link_leads_out"
    assert "a in" in fault.sentence
    assert (fault := fault_of(folder / ("x" * 300))).code == "not_a_model_folder"  # an OSError for any account, root too
    assert "File name too long" in fault.sentence


def test_facts_that_a_newer_version_stored_are_read(copied: Folders) -> None:
    facts = inspect_folder(copied())
    assert facts_from_dict({**facts.to_dict(), "of_a_newer_version": 1}) == facts


def test_a_config_that_hands_over_to_another_file_is_refused(copied: Folders) -> None:
    """The library would read config.5.0.0.json, which no hash covers."""
    folder = copied()
    (folder / "config.5.0.0.json").write_text((folder / "config.json").read_text())
    edit_json(folder / "config.json", configuration_files=["config.5.0.0.json"])
    assert (fault := fault_of(folder)).code == "config_invalid"
    assert "config.5.0.0.json" in fault.sentence
    edit_json(folder / "config.json", configuration_files=["config.999.0.0.json"])
    assert load(folder).layout.n_layers == LAYERS, "a file for a version to come hands over nothing today"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_replaced_while_the_model_loads_is_noticed(copied: Folders, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied()
    facts = inspect_folder(folder)

    def swap_after(*args: object, **kwargs: object) -> object:
        model = real(*args, **kwargs)  # type: ignore[arg-type]
        (folder / "new").write_bytes((folder / name).read_bytes())
        (folder / "new").rename(folder / name)
        return model

    real = loading.open_model
    monkeypatch.setattr(loading, "open_model", swap_after)
    with pytest.raises(ModelFault, match="weights_changed"):
        load(folder, facts=facts)


def dead_buffers(arch: str) -> dict[str, torch.Tensor]:
    """What old checkpoints of these architectures hold beside their weights: as saved by DialoGPT, mGPT, Pythia, the first Llamas."""
    mask = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
    if arch == "gpt2":
        made = {
            f"transformer.h.{n}.attn.{name}": value
            for n in range(LAYERS)
            for name, value in (("bias", mask.clone()), ("masked_bias", torch.tensor(float("-inf"))))
        }
    elif arch == "gpt_neox":
        made = {
            f"gpt_neox.layers.{n}.attention.{name}": value
            for n in range(LAYERS)
            for name, value in (
                ("bias", mask.clone()),
                ("masked_bias", torch.tensor(-1e9)),
                ("rotary_emb.inv_freq", torch.rand(2)),
            )
        }
    else:
        made = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": torch.rand(8) for n in range(LAYERS)}
    return made


@pytest.mark.parametrize(("arch", "prefixed"), [("gpt2", True), ("gpt2", False), ("gpt_neox", True), ("llama", True)])
def test_dead_buffers_are_no_mismatch_and_no_weights(copied: Folders, arch: str, prefixed: bool) -> None:
    folder = copied(arch)
    before = inspect_folder(folder)
    logits = load(folder).model(input_ids=torch.tensor([[1, 50, 60]])).logits

    def old_checkpoint(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update(dead_buffers(arch))
        if not prefixed:  # saved from the bare decoder, as the first GPT-2 files were
            for name in [name for name in tensors if name.startswith("transformer.")]:
                tensors[name.removeprefix("transformer.")] = tensors.pop(name)

    edit_weights(folder, old_checkpoint)
    facts = inspect_folder(folder)
    assert (facts.dtype, facts.n_parameters) == (before.dtype, before.n_parameters)
    assert torch.equal(load(folder).model(input_ids=torch.tensor([[1, 50, 60]])).logits, logits)


def test_a_tensor_that_only_looks_like_a_dead_buffer_is_a_mismatch(copied: Folders) -> None:
    folder = copied("llama")
    edit_weights(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}))
    assert fault_of(folder).code == "config_weights_mismatch"


def test_a_hub_model_with_both_sets_is_fetched_as_the_library_loads_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = [
        "config.json",
        "tokenizer.json",
        "adapter_config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    siblings = [SimpleNamespace(rfilename=name, size=9, lfs=None, blob_id="a" * 40) for name in names]
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: SimpleNamespace(sha="c" * 40, siblings=siblings))
    found = look_up("lab/both", "c" * 40, token=None, cache=tmp_path)
    assert sorted(file.name for file in found.files) == [
        "adapter_config.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
