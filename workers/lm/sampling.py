"""Seeded sampling that depends only on the row: temperature, nucleus, and a uniform number per token from the row's own generator.

N rows, V vocabulary. A token is drawn by inverting the cumulative distribution over token ids, in float64. Like the greedy choice (`choosing`),
the draw of a row computed in another batch can differ only where the last bits decide: where the uniform number lies within rounding of an edge
of the distribution, or the drawn token within rounding of the nucleus's edge. `draw` reports such rows, and they are then computed alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workers.lm.errors import ModelFault

_MOST_ELEMENTS = 1 << 24  # largest float64 table of rows x vocabulary
_COLDEST = 1e-30
"""Temperatures below it draw as it does, the likeliest token: dividing logits by them would overflow."""


@dataclass(frozen=True)
class Sampling:
    """Draws from softmax(logits / temperature), limited to the smallest set of likeliest tokens with a total probability of at least `top_p`."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def check(self) -> None:
        """Raises ModelFault bad_sampling when a setting is out of range."""
        if not (0 < self.temperature < float("inf") and 0 < self.top_p <= 1 and 0 <= self.seed < 2**64):
            raise ModelFault(
                "bad_sampling",
                f"Temperature {self.temperature}, top_p {self.top_p}, seed {self.seed}: the temperature must be above 0 (leave sampling "
                "out for greedy text), top_p in (0, 1], and the seed a whole number from 0 to 2^64 - 1.",
            )

    def uniforms(self) -> np.random.Generator:
        """The row's random generator: its nth number decides the nth token."""
        return np.random.Generator(np.random.Philox(key=self.seed))


def draw(
    logits_NV: Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float], gaps: Sequence[float]
) -> tuple[list[int], list[bool]]:
    """Returns each row's drawn id, and whether the draw could differ if the difference of any two logits changed by up to the row's gap.

    Each row has its own uniform number in [0, 1), and its own gap, in units of its logits.
    With r = gap / temperature a probability changes by a factor of at most e^r, a cumulative mass F by F (1 - F) r <= r / 4, and
    the nucleus only by tokens with a probability within e^r of its least likely token's, or a preceding mass within r / 4 of top_p.
    """
    ids: list[int] = []
    near: list[bool] = []
    step = max(1, _MOST_ELEMENTS // logits_NV.shape[1])
    for start in range(0, len(samplings), step):
        part = slice(start, start + step)
        drawn, unsure = _draw(logits_NV[part], samplings[part], uniforms[part], gaps[part])
        ids += drawn
        near += unsure
    return ids, near


def _draw(
    logits_NV: Tensor, samplings: Sequence[Sampling], uniforms: Sequence[float], gaps: Sequence[float]
) -> tuple[list[int], list[bool]]:
    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits_NV.device)[:, None]

    temperature_N1 = column([max(s.temperature, _COLDEST) for s in samplings])
    top_p_N1 = column([s.top_p for s in samplings])
    slack_N1 = column(gaps) / temperature_N1
    p_NV = torch.softmax(logits_NV.double() / temperature_N1, dim=-1)
    kept_NV = unsure_NV = None
    if any(s.top_p < 1 for s in samplings):
        kept_NV, unsure_NV = _nucleus(p_NV, top_p_N1, slack_N1)
    q_NV = p_NV if kept_NV is None else torch.where(kept_NV, p_NV, 0.0)
    cumulative_NV = q_NV.cumsum(-1)
    total_N1 = cumulative_NV[:, -1:]
    target_N1 = column(uniforms) * total_N1
    # rounding at the end of the sum must not choose a token of zero probability
    last_N1 = torch.where(q_NV > 0, torch.arange(q_NV.shape[1], device=q_NV.device), 0).amax(-1, keepdim=True)
    index_N1 = torch.searchsorted(cumulative_NV, target_N1, right=True).minimum(last_N1)
    high_N1 = cumulative_NV.gather(1, index_N1)
    low_N1 = high_N1 - q_NV.gather(1, index_N1)
    margin_N1 = slack_N1 / 4 * total_N1
    if unsure_NV is not None:
        margin_N1 = margin_N1 + torch.where(unsure_NV, p_NV, 0.0).sum(-1, keepdim=True)
    near_N1 = (target_N1 - low_N1 < margin_N1) | (high_N1 - target_N1 < margin_N1)
    if unsure_NV is not None:
        near_N1 |= unsure_NV.gather(1, index_N1)
    return index_N1[:, 0].tolist(), near_N1[:, 0].tolist()


def _nucleus(p_NV: Tensor, top_p_N1: Tensor, slack_N1: Tensor) -> tuple[Tensor, Tensor]:
    """Returns which tokens are in the nucleus, and for which tokens this is uncertain; both bool [N, V]. A top_p of 1 keeps all, with
    certainty."""
    sorted_NV, order_NV = p_NV.sort(descending=True, stable=True)
    preceding_NV = sorted_NV.cumsum(-1) - sorted_NV
    whole_N1 = top_p_N1 >= 1
    keeps_NV = (preceding_NV < top_p_N1) | whole_N1
    edge_N1 = sorted_NV.gather(1, keeps_NV.sum(-1, keepdim=True) - 1)
    close_NV = ((sorted_NV.log() - edge_N1.log()).abs() <= slack_N1) | ((preceding_NV - top_p_N1).abs() <= slack_N1 / 4)
    close_NV &= (sorted_NV > 0) & ~whole_N1
    return torch.zeros_like(keeps_NV).scatter(1, order_NV, keeps_NV), torch.zeros_like(keeps_NV).scatter(1, order_NV, close_NV)
