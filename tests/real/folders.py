"""Folders made from a good one: twins, which one proof must refuse, and siblings, which no proof may refuse.

The good one is a tiny Llama with SmolLM2's tokenizer, or SmolLM2 itself. Weights are linked, not copied, so that a twin of the real model
takes no room; what changes a weight file writes a new one.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.proofs.twins import edit_json
from tests.real.models import SMOLLM2
from workers.lm.checkpoint import quiet

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ROWS = 49_152  # of SmolLM2's vocabulary
Change = Callable[[Path], object]


@dataclass(frozen=True)
class Twin:
    """A change that breaks a good folder, the proof that must refuse it, a pattern of its sentence, and the job that refuses it first.

    `unchecked` replaces checks of inspection and loading, so that the folder reaches the proof. `real`: made from SmolLM2 itself.
    """

    proof: str
    change: Change
    says: str
    by: Literal["inspect", "prove"] = "inspect"
    real: bool = False
    unchecked: Mapping[str, Any] = field(default_factory=dict)


def tiny_folder(folder: Path) -> Path:
    """A Llama of two layers and SmolLM2's vocabulary, tokenizer, template and ends of answers."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=ROWS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=256, initializer_range=0.15, tie_word_embeddings=True, pad_token_id=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with quiet():
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return copy_tokenizer(folder)


def copy_tokenizer(folder: Path) -> Path:
    """SmolLM2's tokenizer, chat template and generation config beside other weights."""
    for file in SMOLLM2.folder.iterdir():
        if file.name not in (WEIGHTS, "config.json"):
            shutil.copy(file, folder)
    return folder


def changed(good: Path, target: Path, change: Change) -> Path:
    """A folder with the good one's files, changed; its weights are a second name of the same file."""
    shutil.copytree(good, target, copy_function=lambda source, place: _copied(Path(source), Path(place)))
    change(target)
    return target


def _copied(source: Path, place: Path) -> None:
    try:
        os.link(source, place) if source.name == WEIGHTS else shutil.copy(source, place)
    except OSError:  # another file system
        shutil.copy(source, place)


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """The weight file with other tensors, as a file of its own."""
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
    change(tensors)
    (folder / WEIGHTS).unlink()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def with_tokenizer(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """tokenizer.json with other entries."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def with_template(old: str, new: str) -> Change:
    """The chat template with one part replaced."""

    def change(folder: Path) -> None:
        file = folder / "chat_template.jinja"
        template = file.read_text()
        assert old in template
        file.write_text(template.replace(old, new))

    return change


def _two_sets(folder: Path) -> None:
    os.link(folder / WEIGHTS, folder / "model-00001-of-00001.safetensors")
    edit_json(folder / INDEX, metadata={}, weight_map={"model.norm.weight": "model-00001-of-00001.safetensors"})


def _other_weights(folder: Path) -> None:
    os.link(folder / WEIGHTS, folder / "other.safetensors")
    edit_json(folder / "config.json", transformers_weights="other.safetensors")


def _fewer_rows(folder: Path) -> None:
    edit_json(folder / "config.json", vocab_size=20_000)
    rewritten(
        folder,
        lambda tensors: tensors.update({"model.embed_tokens.weight": tensors["model.embed_tokens.weight"][:20_000].clone()}),
    )


def _letter_beyond(folder: Path) -> None:
    def move(tokenizer: dict[str, Any]) -> None:
        tokenizer["model"]["vocab"]["e"] = ROWS + 1

    with_tokenizer(folder, move)


ONE_SET = {"workers.lm.folder._refuse_second_set": lambda *_: None}
ANY_DIRECTION = {"workers.lm.checkpoint.refuse_bidirectional": lambda _config: None}
BEYOND = r"beyond the model's vocabulary of [0-9,]+\. The tokenizer does not belong to this model"
NOT_CAUSAL = "is_causal: false. The model attends to later tokens"
TWINS = {
    "two-sets": Twin("same files", _two_sets, "two sets of weights.*Keep one and remove the other", unchecked=ONE_SET),
    "other-weights": Twin("same files", _other_weights, 'names "other.safetensors" as its weights', unchecked=ONE_SET),
    "adapter": Twin(
        "same files", lambda folder: edit_json(folder / "adapter_config.json", peft_type="LORA", r=8), "Merge it first",
        unchecked={"workers.lm.folder.ADAPTER": "none.json"},
    ),
    "vocabulary": Twin("tokenizer", _fewer_rows, BEYOND, by="prove"),
    "drops-text": Twin(
        "prompt", with_template("message['content']", "'Hello.'"), "leaves out the user's text.*<.im_start.>user\\\\nHello",
        unchecked={"workers.lm.inspection.render_chat": lambda *_: None},
    ),
    "bidirectional": Twin(
        "causality", lambda folder: edit_json(folder / "config.json", is_causal=False), NOT_CAUSAL, unchecked=ANY_DIRECTION,
    ),
    "real-two-sets": Twin("same files", _two_sets, "two sets of weights", real=True, unchecked=ONE_SET),
    "real-bidirectional": Twin(
        "causality", lambda folder: edit_json(folder / "config.json", is_causal=False), NOT_CAUSAL, real=True, unchecked=ANY_DIRECTION
    ),
    "real-letter": Twin("tokenizer", _letter_beyond, BEYOND, by="prove", real=True),
}  # fmt: skip


def _halved(folder: Path) -> None:
    rewritten(folder, lambda tensors: tensors.update({n: t.to(torch.bfloat16) for n, t in tensors.items() if "mlp" in n}))


def _legacy_rope(folder: Path) -> None:
    edit_json(folder / "config.json", rope_parameters=None, rope_theta=20000.0, rope_scaling={"type": "linear", "factor": 2.0})


def _cut_and_padded(folder: Path) -> None:
    cut = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    padded = {
        "strategy": {"Fixed": 16},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "<|im_end|>",
    }
    with_tokenizer(folder, lambda tokenizer: tokenizer.update(truncation=cut, padding=padded))


def _with_new_tokens(folder: Path) -> None:
    """A token that only the config declares, with a row of its own in the embedding."""
    edit_json(folder / "tokenizer_config.json", extra_special_tokens=["<|tool|>"])
    edit_json(folder / "config.json", vocab_size=ROWS + 8)
    rewritten(
        folder,
        lambda tensors: tensors.update(
            {"model.embed_tokens.weight": torch.cat([tensors["model.embed_tokens.weight"], torch.ones(8, 32)])}
        ),
    )


def _ends_with_the_text(folder: Path) -> None:
    """The config lacks the end of a turn; loading adds it from the template. Without it SmolLM2 wrote the user's next turn."""
    (folder / "generation_config.json").unlink()
    edit_json(folder / "config.json", eos_token_id=0)
    edit_json(folder / "tokenizer_config.json", eos_token="<|endoftext|>")


def _several_ends(folder: Path) -> None:
    _ends_with_the_text(folder)
    edit_json(folder / "generation_config.json", eos_token_id=[0, 5])


def _classed(kind: str, **entries: Any) -> Change:
    return lambda folder: edit_json(folder / "tokenizer_config.json", tokenizer_class=kind, **entries)


MERGES = "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}\n{% endfor %}Assistant:"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
SIBLINGS: Mapping[str, tuple[Change, set[str]]] = {
    "as it is": (lambda _folder: None, set()),
    "legacy rope keys": (_legacy_rope, set()),
    "mixed types": (_halved, set()),
    "added tokens": (_with_new_tokens, set()),
    "saved truncation and padding": (_cut_and_padded, set()),
    "a tokenizer class that the library rebuilds": (_classed("GPT2Tokenizer"), set()),
    "a window that the class does not read": (lambda folder: edit_json(folder / "config.json", sliding_window=8), set()),
    "a template that trims": (with_template("message['content']", "(message['content'] | trim)"), {"prompt"}),
    "a template that merges": (lambda folder: (folder / "chat_template.jinja").write_text(MERGES), {"turn end"}),
    "a template without a system role": (with_template("{% for message", NO_SYSTEM + "{% for message"), set()),
    "the end of a text alone": (_ends_with_the_text, set()),
    "several ends without the turn's": (_several_ends, {"turn end"}),
}  # fmt: skip
"""The change, and the proofs that it limits."""
