"""Trains one vector through the model (docs/science.md, 3.4, lm_loss): added to a layer's residual stream, it makes one response likelier than
another.

    minimise over v:  mean_i -log sigmoid(l_i(pos) - l_i(neg)),  l the mean token log-likelihood of a response after the NEGATIVE prompt,
    with 0.8 * norm * v/|v| added to the residual stream of `layer` at every position.

Adam with step 0.05 from a seeded N(0, I) start, a fixed number of steps, batches of pairs in a seeded order. The model's weights stay unchanged
and get no gradients. Source: the family of AxBench's SSV and ReFT-r1 (Wu et al. 2025); the facts hold the first and the last loss.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.structure.recording import Args, Passed
from workers.science.directions.base import Fit

DOSE = 0.8
STEP = 0.05
BATCH_PAIRS = 16


@dataclass(frozen=True)
class Pair:
    """A negative prompt and the two responses that are read after it."""

    prompt_ids: Sequence[int]
    wanted_ids: Sequence[int]
    unwanted_ids: Sequence[int]


def train(
    lm: LanguageModel,
    pairs: Sequence[Pair],
    *,
    layer: int,
    norm: float,
    steps: int,
    seed: int,
    on_step: Callable[[], None] = lambda: None,
) -> Fit:
    """Returns the trained direction [D]. `on_step()` is called after each step; its exceptions pass through.

    Raises ModelFault too_few_pairs, prompt_too_long, layer_out_of_range, loss_not_finite.
    """
    if not pairs:
        raise ModelFault(
            "too_few_pairs", "lm_loss needs at least one pair of a positive and a negative response that is not empty."
        )
    for pair in pairs:
        lm.check_ids(pair.prompt_ids, max(len(pair.wanted_ids), len(pair.unwanted_ids)))
    draw = torch.Generator().manual_seed(seed)
    vector_D = torch.randn(lm.layout.hidden_size, generator=draw).to(lm.device).requires_grad_()
    adam = torch.optim.Adam([vector_D], lr=STEP)
    losses = []
    with _frozen(lm):
        for _ in range(steps):
            batch = [pairs[i] for i in torch.randperm(len(pairs), generator=draw)[:BATCH_PAIRS].tolist()]
            adam.zero_grad()
            loss = _loss(lm, batch, layer, DOSE * norm * vector_D / vector_D.norm())
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            losses.append(float(loss.detach()))
            if not (math.isfinite(losses[-1]) and torch.isfinite(vector_D).all()):
                raise ModelFault(
                    "loss_not_finite",
                    f"lm_loss at layer {layer}: after {len(losses)} of {steps} steps the loss or the vector is NaN or infinite; the model "
                    f"runs in {str(lm.dtype).removeprefix('torch.')}. Train with another seed, or leave lm_loss out at this layer.",
                )
            on_step()
    first, last = float(np.mean(losses[:5])), float(np.mean(losses[-5:]))
    facts = {"iterations": steps, "loss_first": first, "loss_last": last, "converged": last <= first}
    return Fit(vector_D.detach().double().cpu().numpy(), facts)


@contextmanager
def _frozen(lm: LanguageModel) -> Iterator[None]:
    """Within the block, the model's parameters require no gradient."""
    asking = [parameter for parameter in lm.model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)


def _loss(lm: LanguageModel, batch: Sequence[Pair], layer: int, push_D: Tensor) -> Tensor:
    rows = [(pair.prompt_ids, answer) for pair in batch for answer in (pair.wanted_ids, pair.unwanted_ids)]
    likelihood_B = _mean_log_likelihood(lm, rows, layer, push_D)
    return -torch.nn.functional.logsigmoid(likelihood_B[0::2] - likelihood_B[1::2]).mean()


def _mean_log_likelihood(
    lm: LanguageModel, rows: Sequence[tuple[Sequence[int], Sequence[int]]], layer: int, push_D: Tensor
) -> Tensor:
    """Mean log-likelihood per token of each answer after its prompt, [B], with the push at every position. Rows are padded on the right."""
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids_BT = torch.tensor(
        [[*prompt, *answer] + [lm.pad_id] * (longest - len(prompt) - len(answer)) for prompt, answer in rows], device=lm.device
    )

    def hook(_module: nn.Module, _inputs: Args, output: Passed) -> Passed:
        hidden = output[0] if isinstance(output, tuple) else output
        assert isinstance(hidden, Tensor)
        pushed = hidden + push_D.to(hidden.dtype)
        return (pushed, *output[1:]) if isinstance(output, tuple) else pushed

    handle = lm.layout.site(layer, "residual").register_forward_hook(hook)
    first = min(len(prompt) for prompt, _ in rows) - 1  # earlier positions predict no answer token: no logits there
    try:
        logits_BTV = lm.model(input_ids=ids_BT, use_cache=False, logits_to_keep=longest - first).logits
    finally:
        handle.remove()
    means = []
    for row, (prompt, answer) in enumerate(rows):
        start = len(prompt)
        scores = torch.log_softmax(logits_BTV[row, start - 1 - first : start - 1 - first + len(answer)].float(), dim=-1)
        means.append(scores.gather(1, ids_BT[row, start : start + len(answer), None]).mean())
    return torch.stack(means)
