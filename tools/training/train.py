"""One stage of training: AdamW with warm-up and cosine decay on a seeded stream of batches. Knows nothing of planting."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.training.batches import Batch, batches

LossOf = Callable[[LlamaForCausalLM, Batch], Tensor]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """How long and how fast: steps, batch size, peak learning rate, warm-up steps, the seed of its text, the share tossed.

    The rate falls over `horizon` steps, or over `steps` where that is 0.
    """

    steps: int
    batch: int
    rate: float
    warmup: int
    seed: int
    tossed: float = 0.0
    horizon: int = 0


def answer_loss(model: LlamaForCausalLM, batch: Batch) -> Tensor:
    """Mean cross-entropy of the answers' tokens, in nats."""
    return model(input_ids=batch.ids, attention_mask=batch.attention, labels=batch.labels).loss


def rate_at(step: int, stage: Stage) -> float:
    """Learning rate of a step: linear warm-up, then a cosine down to 2 % of the peak."""
    if step < stage.warmup:
        return stage.rate * (step + 1) / stage.warmup
    done = (step - stage.warmup) / max(1, (stage.horizon or stage.steps) - stage.warmup)
    return stage.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def run_stage(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    loss_of: LossOf = answer_loss,
    say: Say = print,
) -> list[float]:
    """Train the model in place and return the loss of every step. Deterministic on CPU for a fixed number of threads."""
    torch.manual_seed(stage.seed)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.rate, betas=(0.9, 0.98), weight_decay=0.0)
    losses: list[float] = []
    began = time.perf_counter()
    for step, batch in zip(range(stage.steps), batches(tokenizer, stage.seed, stage.batch, stage.tossed), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, stage)
        loss = loss_of(model, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 50 == 49:
            recent = sum(losses[-50:]) / 50
            say(f"step {step + 1}/{stage.steps}  loss {recent:.3f}  {(time.perf_counter() - began) / (step + 1):.2f} s/step")
    model.eval()
    return losses
