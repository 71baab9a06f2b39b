"""The functions that find shipped models, traits and prompts: the files exist, and finding them imports no model library."""

import subprocess
import sys

import pytest

from shipped import CHAT_TRAIT_NAMES, MODEL_NAMES, PROMPTS, TRAIT_NAMES, model_folder, trait_folder


def test_every_named_model_and_trait_has_its_files():
    for name in MODEL_NAMES:
        files = {file.name for file in model_folder(name).iterdir()}
        wanted = (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "generation_config.json",
            "README.md",
        )
        assert files.issuperset(wanted)
    for name in TRAIT_NAMES + CHAT_TRAIT_NAMES:
        files = {file.name for file in trait_folder(name).iterdir()}
        assert files.issuperset({"positive.jsonl", "negative.jsonl", "definition.txt", "steering.json", "split.json"})
    assert (PROMPTS / "calibration_50.json").is_file()


@pytest.mark.parametrize("find", [model_folder, trait_folder])
def test_an_unknown_name_is_refused_with_the_known_ones(find):
    with pytest.raises(KeyError, match=r"demo-severe|refusal"):
        find("demo-sever")


def test_finding_the_paths_imports_no_torch():
    code = "import shipped, sys; assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
