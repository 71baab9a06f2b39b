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
    """Logits [N, V] of final hidden states [N, D], in the model's dtype."""
    shape = hidden_ND.shape[:-1]
    hidden_N1D = hidden_ND.reshape(-1, 1, hidden_ND.shape[-1])
    ids = torch.zeros(hidden_N1D.shape[:2], dtype=torch.long, device=lm.device)
    with _decoder_gives(lm, hidden_N1D):
        logits: Tensor = lm.model(input_ids=ids, use_cache=False).logits
    return logits.reshape(*shape, -1)


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
