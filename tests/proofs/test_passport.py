"""Each proof alone refuses the broken model that was made for it (its twin); good models with unusual files are refused by none."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import processors
from torch import Tensor

from tests.ml.tiny_models import ARCHITECTURES, EOS_IDS, SPECIAL, tiny_tokenizer
from tests.proofs.test_prompt import PARTS, SIBLINGS
from tests.proofs.test_tokenizer import BYTES, like_llama_2, merging, write
from tests.proofs.twins import edit_json, fault_of
from workers.lm import masks
from workers.lm.capture import assert_no_hooks
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.proofs import addends, causality, passport
from workers.lm.proofs.addends import replay_errors
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.passport import PROOFS, Passport, prove
from workers.lm.proofs.rows import random_rows
from workers.lm.tokenizing import library_tokenizer

Folders = Callable[..., Path]
Models = Callable[..., LanguageModel]
SHIPPED = sorted((Path(__file__).parents[2] / "shipped" / "models").iterdir())


def outcomes(found: Passport) -> dict[str, str]:
    """The proofs that did not pass."""
    return {proof.name: proof.outcome for proof in found.proofs if proof.outcome != "passed"}


def sentence(found: Passport, name: str) -> str:
    """What the proof of this name says."""
    return next(proof.sentence for proof in found.proofs if proof.name == name)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_known_architecture_passes(arch: str, tiny_lm: Models) -> None:
    found = prove(tiny_lm(arch))
    assert outcomes(found) == {}
    assert [proof.name for proof in found.proofs] == list(PROOFS)
    assert json.loads(json.dumps(found.to_dict()))["outcome"] == "passed"


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gemma3", "gpt2", "gpt_neox", "phi3"])
def test_models_pass_in_the_type_of_a_job(arch: str, tiny_lm: Models) -> None:
    """In 16 bits the additions are replayed bit for bit, too."""
    assert outcomes(prove(tiny_lm(arch, dtype="bfloat16"))) == {}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_shipped_models_are_refused_by_no_proof(folder: Path) -> None:
    """Their tokenizers write lower case and know few words, which the prompt's proof says."""
    assert outcomes(prove(load(folder))) == {"prompt": "limited"}


def test_the_pretrained_model_passes(pretrained: LanguageModel) -> None:
    found = prove(pretrained)
    assert outcomes(found) == {}
    assert "LlamaTokenizer" in sentence(found, "tokenizer"), "the library gives its texts other ids, and the proof says so"


@pytest.mark.parametrize(
    ("arch", "entries"),
    [
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"sliding_window": 8}),
        ("gpt_neox", {"sliding_window": 8}),
        ("mistral", {"sliding_window": 4096}),
        ("mistral", {"sliding_window": None}),
        ("gemma2", {"attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
        (
            "qwen2",
            {"layer_types": ["full_attention"] * 3 + ["sliding_attention"], "sliding_window": 12, "use_sliding_window": True},
        ),
    ],
)
def test_odd_but_good_configs_pass(arch: str, entries: dict[str, Any], tiny_folder: Folders) -> None:
    assert outcomes(prove(load(tiny_folder(arch, **entries)))) == {}


def test_legacy_rotary_keys_pass(copied: Folders) -> None:
    folder = copied("llama")
    edit_json(folder / "config.json", rope_parameters=None, rope_theta=20000.0, rope_scaling={"type": "linear", "factor": 2.0})
    assert outcomes(prove(load(folder))) == {}


def test_weights_of_several_types_pass(copied: Folders) -> None:
    from tests.proofs.twins import edit_weights

    folder = copied("llama")

    def halve(tensors: dict[str, Tensor]) -> None:
        tensors.update({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items() if "mlp" in name})

    edit_weights(folder, halve)
    assert outcomes(prove(load(folder, dtype="bfloat16"))) == {}


def llama_2_like(folder: Path, **entries: Any) -> None:
    write(folder, like_llama_2(), "LlamaTokenizer")
    edit_json(folder / "tokenizer_config.json", **entries)


def cut_and_padded(folder: Path) -> None:
    backend = merging(pre_tokenizer=BYTES)
    backend.enable_truncation(4)
    backend.enable_padding(length=16, pad_id=0, pad_token="<pad>")
    write(folder, backend, "Qwen2Tokenizer")


def with_a_declared_token(folder: Path) -> None:
    write(folder, merging(pre_tokenizer=BYTES), "Qwen2Tokenizer")
    edit_json(folder / "tokenizer_config.json", extra_special_tokens=["<|new|>"])


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: llama_2_like(folder, legacy=True, add_bos_token=True),
        lambda folder: llama_2_like(folder, legacy=False),
        llama_2_like,
        cut_and_padded,
        with_a_declared_token,
    ],
    ids=["legacy", "not legacy", "not said", "truncation and padding", "a declared token"],
)
def test_odd_but_good_tokenizers_are_refused_by_no_proof(change: Callable[[Path], None], copied: Folders) -> None:
    folder = copied("llama")
    change(folder)
    found = prove(load(folder))
    assert outcomes(found).keys() <= {"prompt"}, found
    assert found.outcome != "refused"


@pytest.mark.parametrize(
    ("template", "expected"),
    [("chat", {}), ("no_system", {}), ("drops_system", {}), ("dated", {}), (PARTS, {}), (SIBLINGS["trims"], {"prompt": "limited"}),
     (SIBLINGS["merges"], {"turn end": "limited"}), (SIBLINGS["uppercases"], {"prompt": "limited"})],
    ids=["chat", "no_system", "drops_system", "dated", "parts", "trims", "merges", "uppercases"],
)  # fmt: skip
def test_templates_pass_or_are_limited(template: str, expected: dict[str, str], copied: Folders) -> None:
    known = template in ("chat", "no_system", "drops_system", "dated")
    folder = copied("llama", tokenizer=template if known else "chat")
    if not known:
        (folder / "chat_template.jinja").write_text(template)
    found = outcomes(prove(load(folder)))
    assert expected.items() <= found.items()
    assert "refused" not in found.values()
    assert found == expected or template == SIBLINGS["uppercases"]


def test_a_list_of_ends_without_the_turn_end_is_limited_with_what_to_add(copied: Folders) -> None:
    folder = copied("llama", tokenizer="chat")
    edit_json(folder / "generation_config.json", eos_token_id=[i for i in EOS_IDS if i != SPECIAL.index("<|end|>")])
    found = prove(load(folder))
    assert outcomes(found) == {"turn end": "limited"}
    assert "add 6 to eos_token_id" in sentence(found, "turn end")


def test_a_tokenizer_without_tokenizer_json_is_limited(copied: Folders) -> None:
    folder = copied("gpt2")
    backend = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(backend["model"]["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<pad>", "pad_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **named}))
    found = prove(load(folder))
    assert outcomes(found) == {"tokenizer": "limited"}
    assert "vocab.json" in sentence(found, "tokenizer")


# Twins that a proof must refuse, alone


def test_a_file_that_changed_since_is_refused(copied: Folders) -> None:
    folder = copied("llama")
    lm = load(folder)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert outcomes(prove(lm)) == {"same files": "refused"}


def test_a_tokenizer_as_the_library_rebuilds_it_is_refused(copied: Folders) -> None:
    """Without the correction in workers/lm/tokenizing.py the proof refuses it."""
    folder = write(copied("qwen2"), merging(pre_tokenizer=BYTES), "Qwen2Tokenizer")
    lm = load(folder)
    corrected = prove(lm)
    assert outcomes(corrected) == {}
    assert "Qwen2Tokenizer" in sentence(corrected, "tokenizer")
    library = replace(lm, tokenizer=library_tokenizer(folder))
    assert outcomes(prove(library)) == {"tokenizer": "refused"}
    assert prove(library).reading_hash != corrected.reading_hash


def test_a_lost_start_token_is_refused(copied: Folders) -> None:
    lm = load(copied("llama"))
    lm.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    found = prove(lm)
    assert outcomes(found) == {"tokenizer": "refused"}
    assert "<s> before it; as it is loaded nothing" in sentence(found, "tokenizer")


def test_a_tokenizer_of_another_model_is_refused(copied: Folders) -> None:
    folder = copied("llama")
    backend = json.loads((folder / "tokenizer.json").read_text())
    letter = backend["model"]["vocab"].pop("e")
    backend["model"]["vocab"]["e"] = 5000 + letter
    (folder / "tokenizer.json").write_text(json.dumps(backend))
    found = prove(load(folder))
    assert outcomes(found)["tokenizer"] == "refused"
    assert "265" in sentence(found, "tokenizer")


def test_a_template_that_drops_the_text_is_refused(copied: Folders) -> None:
    folder = copied("llama", tokenizer="chat")
    lm = load(folder)
    lm.tokenizer.chat_template = "<|user|>{{ messages | length }}<|end|><|assistant|>"
    assert outcomes(prove(lm))["prompt"] == "refused"
    (folder / "chat_template.jinja").write_text("<|user|>{{ messages | length }}<|end|><|assistant|>")
    assert (fault := fault_of(folder)).code == "chat_template_drops_text", "and before any job"
    assert "<|user|>1<|end|>" in fault.sentence


@pytest.mark.parametrize(
    ("arch", "key"), [("llama", "is_causal"), ("gpt2", "is_causal"), ("gemma3", "use_bidirectional_attention")]
)
def test_a_model_that_sees_later_tokens_is_refused(arch: str, key: str, copied: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied(arch)
    edit_json(folder / "config.json", **{key: key != "is_causal"})
    assert (fault := fault_of(folder)).code == "not_causal"
    assert key in fault.sentence
    monkeypatch.setattr("workers.lm.checkpoint.refuse_bidirectional", lambda _config: None)
    lm = load(folder)
    assert "refused" in outcomes(prove(lm))["causality"]
    monkeypatch.setattr(causality, "refuse_bidirectional", lambda _config: None)
    found = causality.causality(lm)
    assert (found.outcome, found.figure > 0.01) == ("refused", True), "by what it computes, not by what its config says"


def test_masks_that_are_not_the_models_are_refused(tiny_lm: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change after loading, which notices masks that do not hold and then leaves them to the library."""
    mistral, llama, real = tiny_lm("mistral"), tiny_lm("llama"), masks._additive

    def no_window(positions_NT: Tensor, **given: Any) -> Tensor:
        given["mask_function"] = lambda _row, _head, query, key: key <= query
        return real(positions_NT, **given)

    def window(positions_NT: Tensor, **given: Any) -> Tensor:
        given["mask_function"] = lambda _row, _head, query, key: (key <= query) & (key > query - 8)
        return real(positions_NT, **given)

    monkeypatch.setattr(masks, "_additive", no_window)
    assert outcomes(prove(mistral)) == {"paths agree": "refused"}
    monkeypatch.setattr(masks, "_additive", window)
    assert outcomes(prove(llama)) == {"paths agree": "refused"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_addends_that_a_block_scales_are_read_with_their_constant(dtype: str, tmp_path: Path) -> None:
    """Granite scales what it adds: without the constant its contributions would be wrong by that factor, and the proof refuses them."""
    sizes = {"vocab_size": 265, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.GraniteConfig(
        **sizes, residual_multiplier=0.22, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2
    )
    torch.manual_seed(0)
    transformers.GraniteForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    lm = load(tmp_path, dtype=dtype)
    assert outcomes(prove(lm)) == {}
    assert {lm.layout.scale(layer, "mlp_contribution") for layer in range(2)} == {0.22}
    assert addends.addends(rescaled(lm, 1 / 0.22)).outcome == "refused"


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt_neox_sequential", "gpt_neox"])
def test_one_order_of_a_block_s_sum_is_equal_bit_for_bit(arch: str, tiny_lm: Models) -> None:
    lm = tiny_lm(arch)
    [row] = random_rows(lm, [40], seed=2)
    [errors] = replay_errors(lm, row).values()
    assert min(errors.values()) == 0 < max(errors.values())


def test_a_term_one_percent_too_large_is_refused(tiny_lm: Models) -> None:
    lm = tiny_lm("llama")
    assert addends.addends(lm).outcome == "passed"
    assert addends.addends(rescaled(lm, 1.01)).outcome == "refused"


def test_a_term_that_is_left_out_is_refused(tiny_lm: Models) -> None:
    lm = tiny_lm("gemma2")
    terms = tuple(replace(one, modules=one.modules[:1], scales=one.scales[:1], names=one.names[:1]) for one in lm.layout.terms)
    assert addends.addends(replace(lm, layout=replace(lm.layout, terms=terms))).outcome == "refused"


def rescaled(lm: LanguageModel, factor: float) -> LanguageModel:
    """The model, with its addends said to be `factor` times as large."""
    terms = tuple(replace(one, scales=tuple(factor * scale for scale in one.scales)) for one in lm.layout.terms)
    return replace(lm, layout=replace(lm.layout, terms=terms))


@pytest.mark.parametrize("name", PROOFS)
def test_one_refusal_refuses_the_model_and_the_other_proofs_still_run(
    name: str, tiny_lm: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst outcome is the passport's; a fault inside a proof refuses and does not end the others."""
    from workers.lm.errors import ModelFault

    def fails(_lm: LanguageModel, _check: Callable[[], None]) -> Proof:
        raise ModelFault("activations_not_finite", "Hidden states are NaN.")

    fine = {other: lambda _lm, _check, other=other: Proof(other, "passed", 0, "", "") for other in PROOFS}
    monkeypatch.setattr(passport, "PROOFS", {**fine, name: fails})
    found = prove(tiny_lm("llama"))
    assert (found.outcome, outcomes(found)) == ("refused", {name: "refused"})
    assert [proof.name for proof in found.proofs] == list(PROOFS)


def test_a_config_that_contradicts_itself_is_refused(tiny_folder: Folders) -> None:
    """Layers with a window, and no window: the library raises when the model's twin is run, before any weight is read."""
    fault = fault_of(tiny_folder("qwen2", layer_types=["sliding_attention"] * 4, sliding_window=8))
    assert "sliding_window" in fault.sentence


def test_progress_is_reported_and_a_check_stops_the_proofs(tiny_lm: Models) -> None:
    lm = tiny_lm("llama")
    seen: list[tuple[int, int]] = []
    prove(lm, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(PROOFS)) for done in range(len(PROOFS) + 1)]
    running: list[str] = []

    def run(name: str, proof: Callable[[], Proof]) -> Proof:
        running.append(name)
        found = proof()
        running.pop()
        return found

    def stop_inside_a_proof() -> None:
        if running:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        prove(lm, check=stop_inside_a_proof, run=run)
    assert running == ["paths agree"], "the proof that generates"
    assert_no_hooks(lm.model)


def test_the_reading_hash_follows_the_reading_and_not_the_weights(tiny_lm: Models, copied: Folders) -> None:
    """Other weights are read alike; another window, template or end is not."""
    plain = prove(tiny_lm("llama")).reading_hash
    assert prove(tiny_lm("llama", seed=1)).reading_hash == plain
    assert prove(tiny_lm("llama", sliding_window=8)).reading_hash == plain, "a window that the class does not read"
    others = [tiny_lm("mistral"), tiny_lm("mistral", sliding_window=13), tiny_lm("llama", tokenizer="chat")]
    others += [replace(tiny_lm("llama"), eos_ids=frozenset({2}))]
    hashes = {prove(lm).reading_hash for lm in others}
    assert len(hashes | {plain}) == len(others) + 1


@pytest.mark.parametrize("name", ["causality", "paths agree", "addends"])
def test_states_that_are_nan_pass_no_proof(name: str, tiny_lm: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN compares as not larger, so the proof of addends took it for no difference."""
    lm = tiny_lm("llama")
    found = {True: "passed", False: "refused"}
    for sound in (True, False):
        handle = lm.layout.sites[2]["mlp_contribution"].register_forward_hook(
            lambda _module, _given, out, sound=sound: out if sound else out * float("nan")
        )
        monkeypatch.setattr(passport, "PROOFS", {name: PROOFS[name]})
        try:
            assert prove(lm).outcome == found[sound]
        finally:
            handle.remove()
