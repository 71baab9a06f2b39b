"""Text becomes the ids that tokenizer.json gives, whatever class the library makes of it; the reference runs `tokenizers` alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tests.ml.tiny_models import SPECIAL
from tests.proofs.twins import edit_json
from workers.lm.errors import ModelFault
from workers.lm.loading import load

Folders = Callable[..., Path]
TEXTS = [
    "\n\n1. Apples\n2. Pears",
    "  two  12 345",
    "don't CAPS caf\u00e9 cafe\u0301",
    "\U0001f600 \u4f60\u597d",
    "    x  # 42",
    "a<|end|> b",
    "",
]
REFERENCE = """
import json, sys
from tokenizers import AddedToken, Tokenizer
backend = Tokenizer.from_file(sys.argv[1])
backend.no_truncation(); backend.no_padding()
backend.add_tokens([AddedToken(t, special=True, normalized=False) for t in json.loads(sys.argv[3])])
print(json.dumps([backend.encode(text, add_special_tokens=False).ids for text in json.loads(sys.argv[2])]))
"""


def reference_ids(folder: Path, texts: list[str] = TEXTS, declared: tuple[str, ...] = ()) -> list[list[int]]:
    """The ids by a fresh process that imports `tokenizers` and nothing else."""
    command = [sys.executable, "-c", REFERENCE, str(folder / "tokenizer.json"), json.dumps(texts), json.dumps(declared)]
    ids: list[list[int]] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return ids


def ours(folder: Path) -> list[list[int]]:
    """The ids of TEXTS by the tokenizer as it is loaded here."""
    tokenizer = load(folder).tokenizer
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]


def merging(**parts: Any) -> Tokenizer:
    """A tokenizer of bytes with merges of digits, spaces and letters: another pre-tokenizer gives other ids. Fits the tiny models' rows."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet())[:200], "\u0120", "\u010a"]
    pairs = [
        ("1", "2"),
        ("3", "4"),
        ("12", "34"),
        ("\u0120", "\u0120"),
        ("d", "o"),
        ("C", "A"),
        ("\u010a", "\u010a"),
        ("'", "t"),
        ("\u0120", "x"),
    ]
    tokens = list(dict.fromkeys([*SPECIAL, *alphabet, *("".join(pair) for pair in pairs)]))
    made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=pairs))
    made.pre_tokenizer = parts.get("pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=False))
    made.decoder = decoders.ByteLevel()
    if "normalizer" in parts:
        made.normalizer = parts["normalizer"]
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return made


DIGITS = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)


def write(folder: Path, backend: Tokenizer, kind: str) -> Path:
    """The folder with this tokenizer, under this class of transformers."""
    backend.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<pad>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **named}))
    return folder


@pytest.mark.parametrize(
    ("arch", "kind", "parts"),
    [
        ("qwen2", "Qwen2Tokenizer", {"pre_tokenizer": BYTES}),
        ("llama", "GPT2Tokenizer", {"pre_tokenizer": DIGITS}),
        ("llama", "LlamaTokenizer", {"normalizer": normalizers.Lowercase()}),
        ("gpt2", "GPT2Tokenizer", {"pre_tokenizer": DIGITS, "normalizer": normalizers.Lowercase()}),
        ("gemma3", "GemmaTokenizer", {"pre_tokenizer": BYTES}),
        ("mistral", "PreTrainedTokenizerFast", {"pre_tokenizer": DIGITS}),
    ],
)
def test_ids_are_those_of_the_file_whatever_the_class(copied: Folders, arch: str, kind: str, parts: dict[str, Any]) -> None:
    """The library rebuilds known classes with the class's own pre-tokenizer: texts with digits or runs of spaces got other ids."""
    folder = write(copied(arch), merging(**parts), kind)
    assert ours(folder) == reference_ids(folder)


def like_llama_2() -> Tokenizer:
    """Blanks are written as a letter of their own, with one more before the text; what is not known falls back to bytes."""
    letters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    tokens = dict.fromkeys([*SPECIAL, *letters, *(f"<0x{byte:02X}>" for byte in range(128, 256)), "\u2581\u2581", "<0x0A>", "12"])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=[("\u2581", "\u2581"), ("1", "2")], unk_token="<pad>", byte_fallback=True, fuse_unk=True
        )
    )
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return made


@pytest.mark.parametrize("legacy", [True, False, None])
def test_tokenizers_in_the_way_of_llama_2_are_read_as_their_file(copied: Folders, legacy: bool | None) -> None:
    """The library puts the blank before other parts of a text than the file does, by that flag."""
    folder = write(copied("llama"), like_llama_2(), "LlamaTokenizer")
    edit_json(folder / "tokenizer_config.json", legacy=legacy, add_bos_token=True)
    assert ours(folder) == reference_ids(folder)
    assert load(folder).tokenizer("12")["input_ids"] == [1, *reference_ids(folder, ["12"])[0]]


def test_the_files_own_start_token_stays_where_its_backend_is_taken(copied: Folders) -> None:
    backend = merging(pre_tokenizer=BYTES)
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = write(copied("qwen2"), backend, "Qwen2Tokenizer")
    tokenizer = load(folder).tokenizer
    assert tokenizer("12")["input_ids"] == [1, *reference_ids(folder, ["12"])[0]]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)


def test_saved_truncation_and_padding_cut_nothing(copied: Folders) -> None:
    backend = merging(pre_tokenizer=DIGITS)
    backend.enable_truncation(4)
    backend.enable_padding(length=16, pad_id=0, pad_token="<pad>")
    folder = write(copied("llama"), backend, "GPT2Tokenizer")
    assert ours(folder) == reference_ids(folder)
    assert max(map(len, ours(folder))) > 4


def test_tokens_that_only_the_config_declares_are_tokens(copied: Folders) -> None:
    """As base models do that were given chat tokens without saving the tokenizer again."""
    folder = write(copied("qwen2"), merging(pre_tokenizer=BYTES), "Qwen2Tokenizer")
    edit_json(folder / "tokenizer_config.json", extra_special_tokens=["<|new|>"])
    [[*ids]] = reference_ids(folder, ["a<|new|> 12"], ("<|new|>",))
    assert load(folder).tokenizer("a<|new|> 12", add_special_tokens=False)["input_ids"] == ids
    assert len(ids) < len("a<|new|> 12")


def test_a_tokenizer_that_the_library_reads_right_is_left_alone(copied: Folders) -> None:
    folder = copied("llama", tokenizer="chat")
    assert ours(folder) == reference_ids(folder)


def test_a_template_in_chat_template_json_counts(copied: Folders) -> None:
    """The library reads that file for processors only: the model was prompted without its template."""
    folder = copied("llama", tokenizer="chat")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    assert not load(folder).facts.has_chat_template
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    lm = load(folder)
    assert lm.facts.has_chat_template
    assert lm.tokenizer.chat_template == template


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"additional_special_tokens": "<|new|>"}, "<|new|>"),
        ({"additional_special_tokens": 5}, "'5'"),
        ({"eos_token": {"lstrip": True}}, "lstrip"),
    ],
)
def test_special_tokens_that_are_none_are_refused(copied: Folders, entries: dict[str, Any], named: str) -> None:
    """The library does not look at them; the letters of a text instead of a list would become tokens of their own."""
    folder = write(copied("qwen2"), merging(pre_tokenizer=BYTES), "Qwen2Tokenizer")
    edit_json(folder / "tokenizer_config.json", extra_special_tokens=[])
    (folder / "special_tokens_map.json").write_text(json.dumps(entries))
    with pytest.raises(ModelFault, match=re.escape(named)) as refused:
        load(folder)
    assert refused.value.code == "no_tokenizer"
