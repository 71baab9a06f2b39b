"""Addends: a block's output is its input plus what attention and MLP are said to add, and nothing else.

    sequential   (x + attention) + mlp
    parallel     (mlp + attention) + x

Replayed from the captured input and addends in the model's own order and type, the sum equals the block's output bit for bit, so it needs
no second copy of the weights and no float32. (Never by subtraction: output - input is not usable in bfloat16.) An order that the library
may choose otherwise gives a sum within 16 units in the last place of the sum of absolute terms, and the proof says so.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workers.lm.capture import prefill, reading
from workers.lm.model import LanguageModel
from workers.lm.proofs.figures import larger
from workers.lm.proofs.outcome import Proof
from workers.lm.proofs.rows import random_rows

NAME = "addends"
ULPS = 16
TOKENS = 40
ADDENDS = ("attn_contribution", "mlp_contribution")
ORDERS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "sequential": lambda x, attention, mlp: (x + attention) + mlp,
    "parallel": lambda x, attention, mlp: (mlp + attention) + x,
}


def addends(lm: LanguageModel) -> Proof:
    """The figure is the largest error of the better order, in units in the last place of the sum of absolute terms."""
    [row] = random_rows(lm, [TOKENS], seed=2)
    errors = replay_errors(lm, row)
    order = min(errors, key=lambda name: errors[name])
    error = errors[order]
    shape = f"{lm.layout.n_layers} layers x {len(row)} tokens in {str(lm.dtype).removeprefix('torch.')}, {order} order"
    if error == 0:
        return Proof(NAME, "passed", 0, "ulp", f"Input + attention + MLP gives each block's output bit for bit ({shape}).")
    if error <= ULPS:
        sentence = f"Input + attention + MLP gives each block's output to {error:.2g} units in the last place, not bit for bit ({shape})."
        return Proof(NAME, "limited", error, "ulp", sentence)
    sentence = (
        f"Input + attention + MLP differs from the block's output by {error:,.0f} units in the last place, at most {ULPS} allowed ({shape}). "
        "Something else is added to or scales the stream, so contributions would be wrong. This architecture is not supported."
    )
    return Proof(NAME, "refused", error, "ulp", sentence)


def replay_errors(lm: LanguageModel, row: list[int]) -> dict[str, float]:
    """For each order the largest error of its sums over all layers and tokens, in ulp; 0 where every bit is equal."""
    worst = dict.fromkeys(ORDERS, 0.0)
    inputs: list[Tensor] = []
    terms: dict[str, Tensor] = {}

    def keep(_layer: int, component: str, h_BTD: Tensor) -> None:
        terms[component] = h_BTD

    def replay(_layer: int, _component: str, out_BTD: Tensor) -> None:
        x_BTD, attention, mlp = inputs.pop(), terms[ADDENDS[0]], terms[ADDENDS[1]]
        absolute = x_BTD.double().abs() + attention.double().abs() + mlp.double().abs()
        unit = absolute.clamp_min(torch.finfo(lm.dtype).tiny) * torch.finfo(lm.dtype).eps
        for name, order in ORDERS.items():
            made = order(x_BTD, attention, mlp)
            if not torch.equal(made, out_BTD):
                worst[name] = larger(worst[name], float(((made.double() - out_BTD.double()).abs() / unit).max()))

    blocks = [sites["residual"] for sites in lm.layout.sites]
    handles = [block.register_forward_pre_hook(_keeping(inputs), with_kwargs=True) for block in blocks]
    try:
        with reading(lm, {**dict.fromkeys(ADDENDS, keep), "residual": replay}):
            prefill(lm, row)
    finally:
        for handle in handles:
            handle.remove()
    return worst


def _keeping(inputs: list[Tensor]) -> Callable[..., None]:
    def hook(_module: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        inputs[:] = [args[0] if args else kwargs["hidden_states"]]

    return hook
