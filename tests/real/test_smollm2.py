"""SmolLM2-135M-Instruct (dequantised from Q4_1): every number the product reports on it, against something independent."""

import pytest
from tokenizers import Tokenizer

from tests.real import oracles
from tests.real.models import SMOLLM2
from workers.lm.model import LanguageModel
from workers.lm.prompts import encode_prompt

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("text", ["\n\n1. Apples", "    12 + 345", "In 2026, 3.14", "plain words"])
def test_digits_are_tokens_of_their_own_as_its_publisher_trained_it(smollm2: LanguageModel, text: str) -> None:
    expected = Tokenizer.from_file(str(SMOLLM2.folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    assert smollm2.tokenizer.encode(text, add_special_tokens=False) == expected
    digits = sum(character.isdigit() for character in text)
    assert sum(smollm2.tokenizer.decode([one]).strip().isdigit() for one in expected) == digits


def test_the_chat_template_is_applied(smollm2: LanguageModel) -> None:
    assert "<|im_start|>user\nhello<|im_end|>" in smollm2.tokenizer.decode(encode_prompt(smollm2, "hello"))


def test_a_calibration_agrees_with_the_definitions_in_float64_in_every_digit(smollm2: LanguageModel) -> None:
    found = oracles.calibration_agrees(smollm2)
    assert {247, 507} <= set(found["massive_dims"]["dims"])
    assert found["severity"]["verdict"] == "mild"


def test_rows_and_vectors_of_an_extraction_are_those_of_one_prompt_at_a_time(smollm2: LanguageModel) -> None:
    oracles.extraction_agrees(smollm2)


def test_eight_greedy_texts_are_plain_transformers(smollm2: LanguageModel) -> None:
    oracles.greedy_agrees(smollm2, new=16)


def test_eight_steered_rows_are_those_of_a_naive_loop(smollm2: LanguageModel) -> None:
    oracles.steered_agrees(smollm2, new=8)
