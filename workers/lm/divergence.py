"""Measures how far steering moves the model's next-token distributions: KL(steered || base) at each token of a given answer, in nats.

    KL_t = sum over the vocabulary of p_t (log p_t - log q_t),  p steered, q base, both after prompt + answer[:t]

Teacher-forced: the steered and the base model read the same ids, so the numbers measure the push and not how the texts diverge
(docs/science.md, 4.5). float64 sums of log-softmax, a few positions at a time, so that memory does not grow with vocabulary x tokens. N distinct
rows of a pass, T positions, A answer tokens, M pairs of a steered and a base position, D hidden, V vocabulary.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from workers.lm.errors import ModelFault
from workers.lm.head import logits_of
from workers.lm.hooks import Hooks, hooked
from workers.lm.interventions import Push, Site, check_pushes
from workers.lm.likelihood import HEAD_BYTES, right_padded
from workers.lm.memory import with_halving
from workers.lm.model import LanguageModel
from workers.lm.site_actions import VectorBank, framed_actions

Texted = tuple[Sequence[int], Sequence[int], tuple[Push, ...]]
"""(prompt ids, answer ids, pushes)."""
BYTES_A_LOGIT = 32
"""Bytes for a vocabulary entry of a pair: both logits in float32, both log-probabilities in float64, and a float64 copy of a logit."""
MOST_BYTES = 3 * HEAD_BYTES
"""The most bytes of logits and their copies held at the same time, as where texts are read (`likelihood`). On a CPU, the C library maps tensors
above 32 MiB by themselves and returns them; smaller pieces left gaps in its heap, which grew with their number."""


def divergences(
    lm: LanguageModel, rows: Sequence[Texted], *, batch_rows: int, on_batch: Callable[[], None] = lambda: None
) -> list[np.ndarray]:
    """Returns for each row the KL at each answer token, float64 [A]: 0 without pushes, inf where the steered logits are not finite.

    Steered rows of the same prompt and answer share one base row, in the same pass. A pass has at most `batch_rows` rows, base rows included,
    and at least two. `on_batch()` is called after every batch and may raise. Raises ModelFault empty_prompt, prompt_too_long,
    token_out_of_range, no_effect, activations_not_finite (of the base model) and what `check_pushes` raises; OutOfMemory.
    """
    for prompt, answer, pushes in rows:
        lm.check_ids([*prompt, *answer])
        check_pushes(lm, pushes)
    kls = [np.zeros(len(answer)) for _, answer, _ in rows]
    computed = [index for index, (_, answer, pushes) in enumerate(rows) if len(answer) and pushes]
    if not computed:
        return kls
    order = sorted(computed, key=lambda i: (-len(rows[i][0]) - len(rows[i][1]), tuple(rows[i][0]), tuple(rows[i][1]), i))
    every_push = [push for _, _, pushes in rows for push in pushes]
    bank = VectorBank(lm, every_push)

    with hooked(lm, {site for push in every_push for site in push.sites(lm.layout.n_layers)}) as hooks, torch.no_grad():

        def run(batch: Sequence[int]) -> list[np.ndarray]:
            values = _batch(lm, hooks, bank, [rows[index] for index in batch])
            on_batch()
            return values

        # a batch of n steered rows needs at most n base rows
        for index, values in zip(order, with_halving(run, order, max(1, batch_rows // 2)), strict=True):
            kls[index] = values
    return kls


def _batch(lm: LanguageModel, hooks: Hooks, bank: VectorBank, rows: Sequence[Texted]) -> list[np.ndarray]:
    bases: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for prompt, answer, _ in rows:
        bases.setdefault((tuple(prompt), tuple(answer)), len(rows) + len(bases))
    whole: list[Texted] = [*rows, *((prompt, answer, ()) for prompt, answer in bases)]
    hidden = _predicting(lm, hooks, bank, whole)
    steered_MD = torch.cat(hidden[: len(rows)])
    base_MD = torch.cat([hidden[bases[tuple(prompt), tuple(answer)]] for prompt, answer, _ in rows])
    most = max(1, MOST_BYTES // (BYTES_A_LOGIT * lm.vocab_size))
    kl_M = np.concatenate(
        [_kl(lm, *parts) for parts in zip(torch.split(steered_MD, most), torch.split(base_MD, most), strict=True)]
    )
    return np.split(kl_M, np.cumsum([len(answer) for _, answer, _ in rows])[:-1])


def _kl(lm: LanguageModel, steered_MD: Tensor, base_MD: Tensor) -> np.ndarray:
    """The KL [M] at each pair of final hidden states. Raises ModelFault activations_not_finite."""
    steered_MV, base_MV = logits_of(lm, torch.cat([steered_MD, base_MD])).chunk(2)
    if not torch.isfinite(base_MV).all():
        raise ModelFault(
            "activations_not_finite", "The unsteered model's logits are not finite, so there is nothing to compare with."
        )
    log_p_MV, log_q_MV = (logits.double().log_softmax(-1) for logits in (steered_MV, base_MV))
    terms_MV = log_q_MV.neg_().add_(log_p_MV).mul_(log_p_MV.exp_())  # in place, for their memory
    # clamped, because rounding may give -1e-17 where the distributions are equal
    values: np.ndarray = terms_MV.sum(-1).clamp(min=0).nan_to_num(nan=float("inf")).cpu().numpy()
    return values


def _predicting(lm: LanguageModel, hooks: Hooks, bank: VectorBank, rows: Sequence[Texted]) -> list[Tensor]:
    """For each row the final hidden states [A, D] at the positions that predict its answer. Rows are padded on the right, where pads affect no
    token of the row, not even through a recurrent state."""
    fed = [[*prompt, *answer[:-1]] for prompt, answer, _ in rows]
    first_N1 = torch.tensor([[len(prompt)] for prompt, _, _ in rows], device=lm.device)
    end_N1 = torch.tensor([[len(ids)] for ids in fed], device=lm.device)
    ids_NT = right_padded(lm, fed)
    column_T = torch.arange(ids_NT.shape[1], device=lm.device)
    in_prompt_NT, in_response_NT = column_T < first_N1, (column_T >= first_N1) & (column_T < end_N1)
    pushes = [pushes for _, _, pushes in rows]
    with hooks.during(framed_actions(lm, bank, pushes, in_prompt_NT, in_response_NT)):
        hidden_NTD = lm.layout.decoder(input_ids=ids_NT, use_cache=False).last_hidden_state
    _check_fired(lm, pushes, hooks.fired)
    return [hidden_NTD[row, len(prompt) - 1 : len(fed[row])] for row, (prompt, _, _) in enumerate(rows)]


def _check_fired(lm: LanguageModel, pushes: Sequence[Sequence[Push]], fired: set[Site]) -> None:
    silent = {site for row in pushes for push in row for site in push.sites(lm.layout.n_layers)} - fired
    if silent:
        raise ModelFault(
            "no_effect", f"The hooks at {sorted(silent)[:4]} did not run, so the divergence would describe unsteered rows."
        )
