"""A model folder is loaded as its files state, or refused with a code and a sentence; changed files are noticed."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, MptConfig, MptForCausalLM, T5Config, T5ForConditionalGeneration

from tests.ml.tiny_models import ARCHITECTURES, CONTEXT, EOS_IDS, HIDDEN, LAYERS, VOCAB, tiny_model, tiny_tokenizer
from workers.lm import hub
from workers.lm.errors import ModelFault
from workers.lm.facts import facts_from_dict
from workers.lm.folder import files_changed
from workers.lm.inspection import inspect_folder
from workers.lm.loading import confirm, load


@pytest.fixture
def folder(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of a tiny Llama's folder, to be damaged."""
    return shutil.copytree(tiny_folder("llama"), tmp_path / "model")


def fault_of(folder: Path) -> ModelFault:
    """The fault of inspecting the folder; asserts that loading raises the same code."""
    with pytest.raises(ModelFault) as inspecting:
        inspect_folder(folder)
    with pytest.raises(ModelFault) as loading:
        load(folder)
    assert loading.value.code == inspecting.value.code
    return inspecting.value


def edit_config(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_saved_model_is_loaded_as_it_was(arch: str, tied: bool, tmp_path: Path) -> None:
    model = tiny_model(arch)
    if tied:
        model.config.tie_word_embeddings = True
        model.config.get_text_config().tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    lm = load(tmp_path / "m")
    ids = torch.tensor([[1, 50, 60, 70]])
    with torch.no_grad():
        assert torch.equal(lm.model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert not lm.model.training
    assert not any(p.requires_grad for p in lm.model.parameters())
    assert lm.eos_ids == frozenset(EOS_IDS)
    assert (lm.facts.layers, lm.facts.hidden_size, lm.facts.vocab_size, lm.facts.context_length) == (
        LAYERS,
        HIDDEN,
        VOCAB,
        CONTEXT,
    )
    assert lm.facts.n_parameters == sum(p.numel() for p in model.parameters())
    assert lm.resident_bytes >= lm.facts.bytes_in("float32")
    embeddings, head = lm.model.get_input_embeddings().weight, lm.model.get_output_embeddings().weight
    assert (embeddings.data_ptr() == head.data_ptr()) is tied


def test_facts_describe_the_folder_and_survive_json(folder: Path) -> None:
    import hashlib

    seen: list[tuple[int, int]] = []
    facts = inspect_folder(folder, lambda done, total: seen.append((done, total)))
    weights = (folder / "model.safetensors").read_bytes()
    assert facts.weight_hash == hashlib.sha256(weights).hexdigest()
    assert facts.bytes == len(weights)
    assert (facts.dtype, facts.architecture, facts.layer_class) == ("float32", "LlamaForCausalLM", "LlamaDecoderLayer")
    assert facts_from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {2 * len(weights)}
    assert 0.9 < seen[-1][0] / seen[-1][1] <= 1


def test_a_sharded_model_has_the_facts_and_values_of_the_whole_one(folder: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    load(folder).model.save_pretrained(shards, max_shard_size="100KB")
    tiny_tokenizer().save_pretrained(shards)
    assert len(list(shards.glob("*.safetensors"))) > 2
    whole, split = load(folder), load(shards)
    assert all(torch.equal(a, b) for a, b in zip(whole.model.parameters(), split.model.parameters(), strict=True))
    assert split.facts.n_parameters == whole.facts.n_parameters
    next(iter(shards.glob("*-00002-*"))).unlink()
    fault = fault_of(shards)
    assert fault.code == "no_weights"
    assert "-00002-" in fault.sentence


def test_a_chat_template_is_a_fact(tiny_folder: Callable[..., Path]) -> None:
    plain, chat = inspect_folder(tiny_folder("llama")), inspect_folder(tiny_folder("llama", tokenizer="chat"))
    assert (plain.has_chat_template, chat.has_chat_template) == (False, True)
    assert plain.weight_hash == chat.weight_hash
    assert plain.tokenizer_hash != chat.tokenizer_hash


@pytest.mark.parametrize("suffix", ["pytorch_model.bin", "weights.pt"])
def test_pickled_weights_are_never_read(folder: Path, suffix: str) -> None:
    (folder / "model.safetensors").unlink()

    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(folder / "executed"),)

    torch.save(Trap(), folder / suffix)
    fault = fault_of(folder)
    assert fault.code == "pickle_weights_only"
    assert suffix in fault.sentence
    assert "save_pretrained" in fault.sentence
    assert not (folder / "executed").exists()


def test_code_in_the_folder_is_never_run(folder: Path) -> None:
    (folder / "modeling_own.py").write_text(
        f"import os; os.mkdir({str(folder / 'executed')!r})\nclass Own: pass\nclass OwnConfig: pass"
    )
    edit_config(
        folder,
        model_type="own",
        auto_map={"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"},
    )
    assert fault_of(folder).code == "unknown_architecture"
    assert not (folder / "executed").exists()


def test_a_folder_without_a_model_is_refused_with_the_files_found(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    assert (fault := fault_of(tmp_path)).code == "not_a_model_folder"
    assert "notes.txt" in fault.sentence
    assert fault_of(tmp_path / "nowhere").code == "not_a_model_folder"
    assert fault_of(tmp_path / "notes.txt").code == "not_a_model_folder"
    for text in ("{", "[1]", "\xff\xfe"):
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        (tmp_path / "model.safetensors").write_bytes(b"")
        (tmp_path / "tokenizer.json").write_text("{}")
        assert fault_of(tmp_path).code == "not_a_model_folder"


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"num_hidden_layers": LAYERS - 1}, ["not in the config", "model.layers.3."]),
        ({"num_hidden_layers": LAYERS + 1}, ["missing", "model.layers.4."]),
        ({"hidden_size": 32}, ["wrong shapes", "(265, 64) in the file, (265, 32) by the config"]),
        ({"vocab_size": 300}, ["lm_head.weight is (265, 64) in the file, (300, 64)"]),
        ({"intermediate_size": 97}, ["mlp.down_proj.weight is (64, 96) in the file, (64, 97)"]),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, ["missing", "self_attn.k_proj.bias"]),
    ],
    ids=["fewer_layers", "more_layers", "narrower", "other_vocabulary", "other_mlp", "other_family"],
)
def test_a_config_that_lies_about_its_weights_is_refused(folder: Path, lie: dict[str, Any], words: list[str]) -> None:
    edit_config(folder, **lie)
    fault = fault_of(folder)
    assert fault.code == "config_weights_mismatch"
    for word in words:
        assert word in fault.sentence


@pytest.mark.parametrize(
    "nonsense", [{"hidden_act": "no_such_function"}, {"num_attention_heads": 0}, {"hidden_size": -4}, {"hidden_size": "wide"}]
)
def test_a_config_that_builds_no_model_is_refused(folder: Path, nonsense: dict[str, Any]) -> None:
    edit_config(folder, **nonsense)
    assert fault_of(folder).code == "config_invalid"


@pytest.mark.parametrize(
    ("nonsense", "reason"),
    [
        ({"hidden_size": "wide"}, "expected int, got str (value: 'wide')"),
        ({"num_attention_heads": 7}, "is not a multiple of the number of attention heads (7)"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "Missing required keys in `rope_parameters`"),
        ({"id2label": {"a": "b"}}, "invalid literal"),
    ],
    ids=["a type", "heads", "rope", "labels"],
)
def test_a_config_of_a_known_architecture_is_refused_with_the_librarys_reason(
    folder: Path, nonsense: dict[str, Any], reason: str
) -> None:
    """The reason is on the second line of the library's error, which was once dropped; a ValueError was once called an unknown architecture."""
    edit_config(folder, **nonsense)
    fault = fault_of(folder)
    assert fault.code == "config_invalid"
    assert reason in fault.sentence


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found_and_its_tensor_named(folder: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.2.mlp.up_proj.weight"][95, 63] = value

    edit_weights(folder, spoil)
    fault = fault_of(folder)
    assert fault.code == "weights_not_finite"
    assert "model.layers.2.mlp.up_proj.weight (96, 64)" in fault.sentence


def test_the_scan_sees_every_slice_of_a_large_tensor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With slices of 7 rows, the last value of the last slice is found."""
    from workers.lm import inspection

    monkeypatch.setattr(inspection, "SLICE_ELEMENTS", 7 * HIDDEN)
    inspect_folder(folder)
    edit_weights(folder, lambda tensors: tensors["lm_head.weight"][VOCAB - 1, HIDDEN - 1].fill_(float("nan")))
    assert "lm_head.weight" in fault_of(folder).sentence


def test_a_cut_off_or_overwritten_weight_file_is_refused(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    for damaged in (whole[:-1000], b"", b"<html>not found</html>" * 20):
        (folder / "model.safetensors").write_bytes(damaged)
        assert fault_of(folder).code == "weights_unreadable"


@pytest.mark.parametrize(
    "model",
    [
        BertLMHeadModel(
            BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=265)
        ),
        T5ForConditionalGeneration(T5Config(d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2, vocab_size=265)),
    ],
    ids=["encoder", "encoder_decoder"],
)
def test_a_model_other_than_a_decoder_is_refused(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    fault = fault_of(tmp_path)
    assert fault.code == "unknown_architecture"
    assert type(model).__name__.removesuffix("LMHeadModel").removesuffix("ForConditionalGeneration") in fault.sentence


def test_a_quantized_model_is_refused(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert fault_of(folder).code == "quantized_weights"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "deep/notes.txt"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (folder / name).parent.mkdir(exist_ok=True)
    if (folder / name).exists():
        (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    fault = fault_of(folder)
    assert fault.code == "link_leads_out"
    assert name in fault.sentence


def test_links_of_the_hubs_cache_stay_inside_its_repository(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    """The hub's cache links to blobs beside the snapshot, within the repository; a link out of the repository is refused."""
    repository = tmp_path / "models--lab--tiny"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blobs = shutil.copytree(tiny_folder("llama"), repository / "blobs")
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    assert load(snapshot).layout.n_layers == LAYERS
    (snapshot / "chat_template.jinja").symlink_to(tmp_path / "elsewhere")
    assert fault_of(snapshot).code == "link_leads_out"


def test_a_missing_or_broken_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    assert fault_of(folder).code == "no_tokenizer"
    (folder / "tokenizer.json").unlink()
    assert fault_of(folder).code == "no_tokenizer"


def test_changed_files_are_refused_and_touched_ones_confirmed(folder: Path) -> None:
    facts = inspect_folder(folder)
    assert not files_changed(folder, facts.files)
    assert confirm(folder, facts) is facts
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert files_changed(folder, facts.files)
    fresh = confirm(folder, facts)
    assert (fresh.weight_hash, files_changed(folder, fresh.files)) == (facts.weight_hash, False)
    assert load(folder, facts=facts).facts == fresh
    edit_weights(folder, lambda tensors: tensors["lm_head.weight"][0, 0].add_(1))
    with pytest.raises(ModelFault, match="weights_changed"):
        load(folder, facts=fresh)
    with pytest.raises(ModelFault, match="weights_changed"):
        confirm(folder, facts)
    shutil.rmtree(folder)
    assert files_changed(folder, facts.files)


def test_a_new_file_of_the_model_is_a_change(folder: Path) -> None:
    facts = inspect_folder(folder)
    (folder / "README.md").write_text("not part of the model")
    assert not files_changed(folder, facts.files)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert files_changed(folder, facts.files)


def test_loading_with_facts_does_not_inspect_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.lm import loading

    facts = inspect_folder(folder)

    def never(*_: object) -> None:
        raise AssertionError("inspected again")

    monkeypatch.setattr(loading, "inspect_folder", never)
    assert load(folder, facts=facts).facts is facts


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"{}", b"\xff\x00", b'{"a": ' * 5000])
def test_a_damaged_json_file_is_a_fault_or_harmless_but_never_another_error(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    if name in ("config.json", "tokenizer.json"):
        assert len(fault_of(folder).sentence) > 20
        return
    with suppress(ModelFault):
        assert load(folder).eos_ids


def test_dtypes_other_than_float_16_and_32_are_refused(folder: Path) -> None:
    for dtype in ("int8", "float64", "nonsense", torch.float8_e4m3fn):
        with pytest.raises(ModelFault, match="unknown_dtype"):
            load(folder, dtype=dtype)
    assert {p.dtype for p in load(folder, dtype="bfloat16").model.parameters()} == {torch.bfloat16}


def test_a_full_disk_is_not_blamed_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub, "snapshot_download", full)
    with pytest.raises(ModelFault, match=r"hub_not_stored: .*No space left on device"):
        hub.local_folder("lab/some-model")


def test_a_hub_id_without_a_network_is_hub_unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelFault, match=r"hub_unreachable: lab/no-such-model .* revision abc"):
        load("lab/no-such-model", revision="abc")


def test_rotary_factors_that_switch_limit_the_context(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    """Beyond that length the positions of a row would depend on the longest row of its batch."""
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "m")
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0, "original_max_position_embeddings": 128}
    edit_config(folder, rope_parameters=rope)
    assert inspect_folder(folder).context_length == 128


def test_longrope_limits_the_context_to_its_original_length(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder("phi3"), tmp_path / "m")
    as_published = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    edit_config(folder, rope_parameters=None, rope_scaling=as_published, original_max_position_embeddings=64)
    assert load(folder).context_length == 64


def test_a_context_length_under_its_other_name_is_read(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    """MPT has biases for `max_seq_len` tokens; a longer row ended in an error about the sizes of tensors."""
    folder = shutil.copytree(tiny_folder("llama"), tmp_path / "m")
    config = MptConfig(d_model=64, n_heads=4, n_layers=2, vocab_size=VOCAB, max_seq_len=128)
    MptForCausalLM(config).save_pretrained(folder)
    assert inspect_folder(folder).context_length == 128


def test_the_pretrained_folder_has_the_facts_it_states(pretrained_folder: Path) -> None:
    facts = inspect_folder(pretrained_folder)
    assert (facts.layers, facts.hidden_size, facts.vocab_size, facts.context_length) == (2, 128, 2048, 512)
    assert facts.n_parameters == 656_000
