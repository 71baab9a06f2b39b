"""Choosing each row's next token so that it does not depend on the row's neighbours.

The same row computed in another batch gives logits that differ in their last bits, because matrix kernels add in another
order. Greedy choice turns that into other text only where the two best logits are nearly equal. There, and only there, the
row is computed again in the one way that has no neighbours: alone, its full ids, no cache. So in float32 a row's text is that
of the row alone, in any batch.

NEAR_TIE: two ways of computing a float32 row differ by 1e-6 to 4e-6 of the largest logit (measured on every known architecture, 4
layers; the error grows with the root of the depth; tests/ml/test_lm_generation.py asserts that it stays below a tenth of the margin).
A gap of 1e-4 of the largest logit cannot be overturned by such errors, and is rare: 2 in 1000 steps of a pretrained model.
bfloat16 and float16 differ by far more than any useful margin; nothing is promised for them.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel

NEAR_TIE = 1e-4


def choose(logits_BV: Tensor, alone: Callable[[int], Tensor], *, settle: Collection[int]) -> tuple[list[int], int]:
    """The next id of each row, and how many rows were settled alone.

    `alone(row)` gives that row's logits [V] computed by itself; only the rows in `settle` are settled so.

    Raises ModelFault activations_not_finite.
    """
    logits_BV = logits_BV.float()
    top_B2 = logits_BV.topk(2, dim=-1)
    largest_B = logits_BV.abs().amax(dim=-1)
    if not torch.isfinite(largest_B).all():  # amax passes NaN on
        raise ModelFault(
            "activations_not_finite",
            "The model's logits are not finite. In float16 a massive dimension overflows (beyond 65,504): use another dtype.",
        )
    ids: list[int] = top_B2.indices[:, 0].tolist()
    if not settle:
        return ids, 0
    near_B = (top_B2.values[:, 0] - top_B2.values[:, 1]) < NEAR_TIE * largest_B
    rows = [row for row in near_B.nonzero()[:, 0].tolist() if row in settle]
    for row in rows:
        ids[row] = int(alone(row).float().argmax())
    return ids, len(rows)


def logits_alone(lm: LanguageModel, ids: list[int]) -> Tensor:
    """The next token's logits, [V], of one row by itself: B=1, full ids, no cache, no padding. The reference for every other
    way."""
    row = torch.tensor([ids], device=lm.device)
    logits: Tensor = lm.model(input_ids=row, use_cache=False, logits_to_keep=1).logits
    return logits[0, -1]
