"""Computes next-token logits from final hidden states, with the model's own code and its scales, caps and biases.

The whole model runs, with a decoder that returns the given hidden states. So no assumption is made about the layers after the decoder.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from workers.lm.model import LanguageModel


def logits_of(lm: LanguageModel, hidden_ND: Tensor) -> Tensor:
    """Logits [N, V] of final hidden states [N, D], in the type that the model's code returns (float32 from some models in bfloat16)."""
    ids = torch.zeros(len(hidden_ND), 1, dtype=torch.long, device=lm.device)
    with _decoder_gives(lm, hidden_ND[:, None]):
        logits_N1V: Tensor = lm.model(input_ids=ids, use_cache=False).logits
    return logits_N1V[:, 0]


class _Given(BaseModelOutputWithPast):  # type: ignore[misc]
    """A decoder output that holds only hidden states; every other attribute is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


@contextmanager
def _decoder_gives(lm: LanguageModel, hidden_N1D: Tensor) -> Iterator[None]:
    decoder = lm.layout.decoder
    before = decoder.__dict__.get("forward")
    decoder.forward = lambda *_args, **_kwargs: _Given(last_hidden_state=hidden_N1D)
    try:
        yield
    finally:
        if before is None:
            del decoder.forward
        else:
            decoder.forward = before
