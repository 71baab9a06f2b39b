"""The proof of causality: changing later tokens does not change the hidden states of earlier tokens.

Activation statistics are read from whole rows, but answers are generated token by token; both see the same values only in a causal model. Two
rows of one shape that differ in their last tokens are computed alike, so their earlier hidden states must be equal bit for bit.
"""

from functools import reduce

import torch
from torch import Tensor

from workers.lm.capture import prefill, reading
from workers.lm.checkpoint import refuse_bidirectional
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.proofs.figures import larger
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.rows import random_rows

NAME = "causality"
LIMIT = 1e-5
EARLIER, LATER = 20, 12


def causality(lm: LanguageModel) -> Proof:
    """Runs the proof. Its figure is the largest |change| / |hidden state| of an earlier token at any layer."""
    try:
        refuse_bidirectional(lm.model.config)
    except ModelFault as fault:
        return Proof(NAME, "refused", 1, "relative", fault.sentence)
    earlier, first, second = random_rows(lm, [EARLIER, LATER, LATER], seed=1)
    changed = largest_change(lm, [*earlier, *first], [*earlier, *second], len(earlier))
    shape = f"{len(earlier)} earlier tokens, {lm.layout.n_layers} layers"
    if changed > LIMIT:
        sentence = (
            f"Changing later tokens changes earlier hidden states by {changed:.2g} of their size ({shape}; at most {LIMIT:g}): the model is "
            "not causal, and hidden states of a whole text differ from those during generation. Give a causal language model."
        )
        return Proof(NAME, "refused", changed, "relative", sentence)
    if changed:
        sentence = f"Changing later tokens changes earlier hidden states by {changed:.2g} of their size ({shape}): within the limit, but not zero."
        return Proof(NAME, "limited", changed, "relative", sentence)
    return Proof(
        NAME, "passed", 0, "relative", f"Changing later tokens leaves earlier hidden states equal bit for bit ({shape})."
    )


def largest_change(lm: LanguageModel, one: list[int], other: list[int], earlier: int) -> float:
    """The largest relative difference between the two rows' hidden states at the first `earlier` positions."""
    states: list[Tensor] = []
    changes: list[float] = []

    def keep(_layer: int, _component: str, h_BTD: Tensor) -> None:
        states.append(h_BTD[0, :earlier].float().clone())

    def compare(layer: int, _component: str, h_BTD: Tensor) -> None:
        before, now = states[layer], h_BTD[0, :earlier].float()
        sizes = before.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        changes.append(float(((now - before).norm(dim=-1) / sizes).max()))

    with reading(lm, {"residual": keep}):
        prefill(lm, one)
    with reading(lm, {"residual": compare}):
        prefill(lm, other)
    return reduce(larger, changes)
