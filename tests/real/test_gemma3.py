"""Gemma 3 270M (dequantised from Q4_K_M): a base model with sliding windows and a severe massive dimension."""

import pytest

from tests.real import oracles
from workers.lm.model import LanguageModel

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def test_a_calibration_agrees_with_the_definitions_in_float64_in_every_digit(gemma3: LanguageModel) -> None:
    found = oracles.calibration_agrees(gemma3)
    assert (found["severity"]["dominant_dim"], found["severity"]["verdict"]) == (163, "severe")
    assert {163, 87, 400} <= set(found["massive_dims"]["dims"])
    assert len(found["massive_dims"]["dims"]) <= 8  # the ratio alone lists 47


def test_rows_and_vectors_of_an_extraction_are_those_of_one_prompt_at_a_time(gemma3: LanguageModel) -> None:
    oracles.extraction_agrees(gemma3)


def test_eight_greedy_texts_are_plain_transformers(gemma3: LanguageModel) -> None:
    oracles.greedy_agrees(gemma3, new=16)


def test_eight_steered_rows_are_those_of_a_naive_loop(gemma3: LanguageModel) -> None:
    oracles.steered_agrees(gemma3, new=8)
