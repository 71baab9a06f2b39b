"""The text model of an image-and-text model is found and generates like plain greedy decoding."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.ml.tiny_models import _COMMON, _VISION, VOCAB, tiny_tokenizer
from workers.lm.checkpoint import quiet
from workers.lm.generation import generate_greedy
from workers.lm.loading import load
from workers.lm.proofs.addends import addends
from workers.lm.proofs.causality import causality
from workers.lm.proofs.paths import paths_agree

PROMPTS = [[1, *range(60, 90, 2)], [1, 70, 71, 72], [1, 100, 90, 80, 70, 60]]


def _mistral3() -> Any:
    text = transformers.MistralConfig(**_COMMON, sliding_window=None)
    vision = transformers.PixtralVisionConfig(**_VISION, head_dim=16)
    return transformers.Mistral3Config(
        text_config=text, vision_config=vision, image_token_index=VOCAB - 1, tie_word_embeddings=False
    )


def _qwen3_vl() -> Any:
    text = {**_COMMON, "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2], "rope_theta": 10000.0}}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "depth": 2,
        "num_heads": 2,
        "out_hidden_size": 64,
        "deepstack_visual_indexes": [0],
    }
    tokens = dict(
        zip(
            ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"),
            range(VOCAB - 4, VOCAB),
            strict=True,
        )
    )
    return transformers.Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **tokens)


@pytest.mark.parametrize("config", [_mistral3, _qwen3_vl])
def test_the_text_model_of_an_image_and_text_model_is_loaded_and_run(config: Any, tmp_path: Path) -> None:
    """Its class is not among the library's causal language models, and was once refused for that."""
    torch.manual_seed(0)
    with quiet():
        model = transformers.AutoModelForImageTextToText.from_config(config())
        model.save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
    lm = load(tmp_path)
    assert lm.layout.decoder is lm.model.model.language_model
    assert lm.layout.n_layers == 4
    assert {proof(lm).outcome for proof in (causality, paths_agree, addends)} == {"passed"}
    for prompt, answer in zip(PROMPTS, generate_greedy(lm, PROMPTS, max_new_tokens=5, batch_rows=3), strict=True):
        assert answer
        ids = list(prompt)
        for _ in answer:
            with torch.no_grad():
                ids.append(int(lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        assert ids == [*prompt, *answer]
