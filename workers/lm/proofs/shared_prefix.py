"""Compares hidden states after a shared prefix with those of each row run by itself: the part of "paths agree" that justifies shared prefixes.

Rows diverge at two depths, as prompts of a trait do after the template and after a system prompt; one of them ends where others continue.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from workers.lm.capture import prefill, reading
from workers.lm.model import LanguageModel
from workers.lm.prefixes import PASS_COST, Pass
from workers.lm.proofs.figures import larger
from workers.lm.sharing import Inputs, plan_for, run_plan


def related_rows(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows that share prefixes: the first row, and the other rows after parts of it."""
    head, *others = rows
    parts = [list(head[: max(1, len(head) * part // 3)]) for part in (2, 3)]
    return [*parts, *([*part, *other] for part in parts for other in others)]


def largest_shared_difference(lm: LanguageModel, rows: Sequence[Sequence[int]], on_step: Callable[[], None]) -> float:
    """The largest |shared - alone| / |alone| of a hidden state, over rows, layers and tokens."""
    states: dict[tuple[int, int], list[Tensor]] = {}

    def forward(pass_: Pass, inputs: Inputs) -> None:
        read: list[tuple[int, int, Tensor]] = []  # of this call alone, which is repeated if it runs out of memory

        def keep(layer: int, _component: str, h_BTD: Tensor) -> None:
            for number, segment in enumerate(pass_.segments):
                read.extend((row, layer, h_BTD[number, : len(segment)].float().clone()) for row in segment.rows)

        on_step()
        with reading(lm, {"residual": keep}), torch.no_grad():
            lm.layout.decoder(**inputs)
        for row, layer, h_TD in read:
            states.setdefault((row, layer), []).append(h_TD)

    shared = plan_for(replace(lm, pass_cost=PASS_COST), rows)  # also on a GPU, where such rows would not be worth another pass
    run_plan(lm, shared, rows, forward)
    return reduce(larger, [_difference(lm, row, number, states) for number, row in enumerate(rows)])


def _difference(lm: LanguageModel, row: Sequence[int], number: int, states: Mapping[tuple[int, int], Sequence[Tensor]]) -> float:
    gaps: list[float] = []

    def compare(layer: int, _component: str, h_BTD: Tensor) -> None:
        alone_TD = h_BTD[0].float()
        sizes_T = alone_TD.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
        gaps.append(float(((torch.cat([*states[number, layer]]) - alone_TD).norm(dim=-1) / sizes_T).max()))

    with reading(lm, {"residual": compare}):
        prefill(lm, row)
    return reduce(larger, gaps)
