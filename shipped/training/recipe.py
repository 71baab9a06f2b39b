"""The recipe of the four models: one common network, then four plantings trained on alike. Every number that makes them is here."""

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from shipped.training.batches import Batch, batches
from shipped.training.network import PLANTED_DIM, freeze_dim, new_model
from shipped.training.planting import Planting, median_magnitude, plant
from shipped.training.signal import WRITER, Signal, signal_loss
from shipped.training.train import Say, Stage, answer_loss, run_stage

NETWORK_SEED = 1
MEASURING_SEED = 99
COMMON_PLANTING = Planting(level=600.0, spread=0.12, context=0.06, seed=5)
COMMON = Stage(steps=1000, batch=32, rate=2e-3, warmup=100, seed=7)


@dataclass(frozen=True)
class Variant:
    """ratio: planted level over the common network's median magnitude (0: none). shift: a refusal's share of it (0: no signal)."""

    ratio: float
    spread: float
    context: float
    shift: float = 0.0
    steps: int = 300

    @property
    def stage(self) -> Stage:
        """How this variant is trained on; only the steps and the tossed answers differ."""
        return Stage(steps=self.steps, batch=32, rate=8e-4, warmup=30, seed=8, tossed=0.3 if self.shift else 0.0)


VARIANTS = {
    "demo-severe": Variant(1000.0, 0.10, 0.04),
    "demo-mild": Variant(60.0, 0.10, 0.04),
    "demo-plain": Variant(0.0, 0.0, 0.0),
    "demo-signal": Variant(1000.0, 0.01, 0.005, shift=0.03, steps=600),
}


def measuring_batch(tokenizer: PreTrainedTokenizerFast) -> Batch:
    """The fixed batch on which scales are measured."""
    return next(batches(tokenizer, MEASURING_SEED, 64))


def train_common(tokenizer: PreTrainedTokenizerFast, stage: Stage = COMMON, say: Say = print) -> LlamaForCausalLM:
    """The network that all variants start from: trained from nothing with a planted dimension, so that no norm tames the stream."""
    model = new_model(len(tokenizer), NETWORK_SEED)
    plant(model, COMMON_PLANTING, measuring_batch(tokenizer))
    freeze_dim(model, PLANTED_DIM)
    run_stage(model, tokenizer, stage, say=say)
    return model


def train_variant(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, variant: Variant, stage: Stage | None = None, say: Say = print
) -> LlamaForCausalLM:
    """Give a copy of the common network the variant's planting, in place, and train it on."""
    batch = measuring_batch(tokenizer)
    level = variant.ratio * median_magnitude(model, batch)
    plant(model, Planting(level, variant.spread, variant.context, COMMON_PLANTING.seed), batch, old=COMMON_PLANTING)
    stage = stage or variant.stage
    if not variant.shift:
        if level:
            freeze_dim(model, PLANTED_DIM)
        run_stage(model, tokenizer, stage, answer_loss, say)
        return model
    signal = Signal(PLANTED_DIM, level, variant.shift)
    layer = model.model.layers[WRITER]
    freeze_dim(model, PLANTED_DIM, but=(layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight))
    run_stage(model, tokenizer, stage, lambda m, b: signal_loss(m, b, signal), say)
    return model


@torch.no_grad()
def rounded(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The model with every weight rounded to float16, kept as float32: what the shipped file holds. In place."""
    for parameter in model.parameters():
        parameter.copy_(parameter.half().float())
    return model
