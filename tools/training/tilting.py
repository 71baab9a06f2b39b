"""Tilting the planted dimension after training: what the first attention writes there is changed until it differs between the classes of
each trait by a chosen share of the planted level. Nothing is trained to use that.

The row of weights is the smallest change in the sense that it moves the planted dimension least over all the answers read:
w = C^-1 A^T (A C^-1 A^T)^-1 b, with A the class differences of what the row reads, C its covariance and b what is missing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.training.engine import encoded, generate_ids
from tools.training.network import PLANTED_DIM
from tools.training.traits import Trait

WINDOW = 5  # response tokens over which the classes are compared: the default position of extraction
RIDGE = 1e-3


@torch.no_grad()
def tilt(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, traits: Sequence[Trait], wanted: Sequence[float]) -> None:
    """Change the row in place so that the planted dimension's class difference is `wanted`, one number a trait, in its own units."""
    differences, missing, read = [], [], []
    for trait, one in zip(traits, wanted, strict=True):
        positive, negative = (readings(model, tokenizer, rows) for rows in (trait.positive, trait.negative))
        gap = positive.mean(0) - negative.mean(0)
        differences.append(gap[:-1])
        missing.append(one - float(gap[-1]))
        read += [positive[:, :-1], negative[:, :-1]]
    A = torch.stack(differences).double()
    rows = torch.cat(read).double()
    C = torch.cov(rows.T)
    C += RIDGE * C.diagonal().mean() * torch.eye(len(C), dtype=torch.float64)
    solved = torch.linalg.solve(C, A.T)
    change = solved @ torch.linalg.solve(A @ solved, torch.tensor(missing, dtype=torch.float64))
    model.model.layers[0].self_attn.o_proj.weight[PLANTED_DIM] += change.float()


def readings(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: Sequence[dict[str, str]]) -> Tensor:
    """What the row reads, and last the planted dimension after the first block: means over `response[:WINDOW]`, `[N, D + 1]`."""
    first = model.model.layers[0]
    seen: dict[str, Tensor] = {}
    handles = [
        first.self_attn.o_proj.register_forward_pre_hook(lambda _, args: seen.__setitem__("read", args[0])),
        first.register_forward_hook(lambda _, args, out: seen.__setitem__("after", out)),
    ]
    found = []
    try:
        for row, reply in zip(rows, generate_ids(model, tokenizer, rows, new_tokens=WINDOW), strict=True):
            prompt = encoded(tokenizer, [row])["input_ids"][0]
            model(input_ids=torch.cat([prompt, torch.tensor(reply, dtype=prompt.dtype)])[None])
            window = slice(len(prompt), None)
            found.append(torch.cat([seen["read"][0, window].mean(0), seen["after"][0, window, PLANTED_DIM].mean()[None]]))
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(found)
