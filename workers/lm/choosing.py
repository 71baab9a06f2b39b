"""Chooses each row's next token so that the choice does not depend on the other rows of the batch.

The same row computed in another batch gives logits that differ in their last bits, because matrix kernels add in another order. Greedy decoding
gives another text only where the two largest logits are nearly equal. For such near ties alone, the row is computed again by itself, from its
full ids and without a cache. So in float32 a row's text equals the text of the row run alone, in any batch.

NEAR_TIE: two ways of computing a float32 row differ by 1e-6 to 4e-6 of the largest logit (measured on every known architecture, 4 layers; the
error grows with the root of the depth; tests/ml/lm/test_lm_generation.py asserts that it stays below a tenth of the margin). Such errors cannot
overturn a gap of 1e-4 of the largest logit, and smaller gaps are rare: 2 in 1000 steps of a pretrained model. bfloat16 and float16 differ by far
more than any useful margin; nothing is guaranteed for them.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from workers.lm.model import LanguageModel
from workers.lm.sampling import Sampling, draw

NEAR_TIE = 1e-4


def choose(
    logits_BV: Tensor,
    alone: Callable[[int], Tensor],
    *,
    settle: Collection[int],
    draws: Mapping[int, tuple[Sampling, float]] | None = None,
) -> tuple[list[int | None], int]:
    """Returns the next id of each row (None where the row's logits are not finite), and how many rows were recomputed alone.

    `alone(row)` gives that row's logits [V] computed by itself; only rows in `settle` are recomputed. Rows in `draws` are sampled, each with its
    own uniform number; the others take their best id.
    """
    logits_BV = logits_BV.float()
    top_B2 = logits_BV.topk(2, dim=-1)
    largest_B = logits_BV.abs().amax(dim=-1)  # amax propagates NaN
    close_B = (top_B2.values[:, 0] - top_B2.values[:, 1]) < NEAR_TIE * largest_B
    best, finite, close = torch.stack(
        [top_B2.indices[:, 0], torch.isfinite(largest_B), close_B]
    ).tolist()  # one synchronisation with the device
    ids: list[int | None] = [token if fine else None for token, fine in zip(best, finite, strict=True)]
    near = {row for row, is_close in enumerate(close) if is_close}
    sampled = [row for row in draws or () if finite[row]]
    if draws and sampled:
        how, uniforms = [draws[row][0] for row in sampled], [draws[row][1] for row in sampled]
        drawn, unsure = draw(logits_BV[sampled], how, uniforms, (NEAR_TIE * largest_B[sampled]).tolist())
        for row, token, doubtful in zip(sampled, drawn, unsure, strict=True):
            ids[row] = token
            (near.add if doubtful else near.discard)(row)
    near = {row for row in near if row in settle and finite[row]}
    for row in near:
        ids[row] = _alone(alone(row).float(), draws.get(row) if draws else None)
    return ids, len(near)


def _alone(logits_V: Tensor, sampled: tuple[Sampling, float] | None) -> int:
    if sampled is None:
        return int(logits_V.argmax())
    [token], _ = draw(logits_V[None], [sampled[0]], [sampled[1]], [0.0])
    return token


def logits_alone(lm: LanguageModel, ids: list[int]) -> Tensor:
    """The next-token logits, [V], of one row by itself: B=1, full ids, no cache, no padding. All other ways of computing are checked against
    these."""
    row = torch.tensor([ids], device=lm.device)
    logits: Tensor = lm.model(input_ids=row, use_cache=False, logits_to_keep=1).logits
    return logits[0, -1]
