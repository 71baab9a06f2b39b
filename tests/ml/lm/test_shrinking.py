"""A small twin of a config keeps which layers have as many key heads as query heads."""

import pytest
from transformers import LlamaConfig

from workers.lm.shrinking import HEADS, shrunk


@pytest.mark.parametrize("key_heads", [8, [8, 2]])
def test_key_heads_of_a_nested_config_are_compared_with_its_own_heads(key_heads: int | list[int]) -> None:
    """A part, such as an encoder, has another number of heads than the whole; a list names a number for each layer."""
    whole = LlamaConfig(hidden_size=64, num_attention_heads=16, num_key_value_heads=16, num_hidden_layers=4)
    whole.part = LlamaConfig(hidden_size=64, num_attention_heads=8, num_hidden_layers=4)
    whole.part.num_kv_heads = key_heads
    made = shrunk(whole, 4)
    assert made.num_key_value_heads == HEADS
    assert made.part.num_kv_heads == ([HEADS, HEADS // 2] if isinstance(key_heads, list) else HEADS)
