"""A row that cannot fit is refused before it is computed, with the arithmetic; what fits by a byte is not."""

import pytest
import torch

from tests.families.models import tiny_family
from workers.lm.errors import OutOfMemory
from workers.lm.memory import batch_rows_for, check_room
from workers.lm.room import bytes_needed


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen3_5_text"])
def test_weights_and_one_row_are_compared_with_the_device(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values, buffers of experts, and the states of a hybrid."""
    lm = tiny_family(family)
    row = bytes_needed(lm, 1, 100, 20)
    assert row is not None
    weights = lm.resident_bytes
    check_room(lm, 100, 20, weights + row)
    arithmetic = r"100 \+ 20 tokens does not fit: [\d,]+ MiB of weights \+ [\d,]+ MiB of .* = [\d,]+ MiB; the device has"
    with pytest.raises(OutOfMemory, match=arithmetic):
        check_room(lm, 100, 20, weights + row - 1)
    monkeypatch.setattr("workers.lm.memory.device_bytes", lambda _device: weights + row - 1)
    with pytest.raises(OutOfMemory, match=arithmetic):
        batch_rows_for(lm, 100, 20, 1 << 40)


def test_what_is_needed_grows_with_rows_and_tokens() -> None:
    lm = tiny_family("llama")
    needed = [bytes_needed(lm, rows, tokens, 4) or 0 for rows, tokens in ((1, 64), (2, 64), (4, 64), (4, 128))]
    assert needed == sorted(set(needed))
    cache = 2 * lm.layout.n_layers * lm.text_config.num_key_value_heads * lm.text_config.head_dim * 4 * (64 + 3)
    assert needed[0] >= cache
    assert not any(parameter.is_meta for parameter in lm.model.parameters())
    assert torch.get_default_device().type == "cpu"
