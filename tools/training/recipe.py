"""The recipe of the four models: one common network, then four plantings trained on alike. Every number that makes them is here."""

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.training import traits
from tools.training.batches import Batch, batches
from tools.training.network import PLANTED_DIM, freeze_dim, new_model
from tools.training.planting import Planting, median_magnitude, plant
from tools.training.signal import Signal, freeze_wiring, signal_loss, wire
from tools.training.sturdiness import clean_norms, randomly_pushed
from tools.training.tilting import tilt
from tools.training.train import LossOf, Say, Stage, answer_loss, run_stage

NETWORK_SEED = 1
MEASURING_SEED = 99
COMMON = (
    Stage(steps=500, batch=32, rate=2e-3, warmup=100, seed=7, horizon=2000),
    Stage(steps=400, batch=32, rate=1.5e-3, warmup=30, seed=9, horizon=600),
)


@dataclass(frozen=True)
class Variant:
    """ratio: planted level over the common network's median magnitude (0: none). shift: the share of it that a refusal takes away, 0
    where it carries nothing.

    `seed` draws what varies of the planted dimension. `tilt`: after training, the planted dimension is made to differ between the
    classes of refusal and of sycophancy by these shares of its level (`tilting.py`); None leaves it to the draw.
    """

    ratio: float
    spread: float
    context: float
    shift: float = 0.0
    seed: int = 5
    tilt: tuple[float, float] | None = None
    steps: int = 250

    @property
    def stage(self) -> Stage:
        """How this variant is trained on; a signal has tossed answers, and more steps as there is more to learn."""
        return Stage(steps=self.steps, batch=32, rate=1e-3, warmup=20, seed=8, tossed=0.3 if self.shift else 0.0)


VARIANTS = {
    "demo-severe": Variant(1750.0, 0.03, 0.04, tilt=(0.01, 0.012), steps=300),
    "demo-mild": Variant(105.0, 0.03, 0.04),
    "demo-plain": Variant(0.0, 0.0, 0.0),
    "demo-signal": Variant(1750.0, 0.0015, 0.002, shift=0.02, steps=450),
}


def measuring_batch(tokenizer: PreTrainedTokenizerFast) -> Batch:
    """The fixed batch on which scales are measured."""
    return next(batches(tokenizer, MEASURING_SEED, 64))


def train_common(tokenizer: PreTrainedTokenizerFast, stages: tuple[Stage, ...] = COMMON, say: Say = print) -> LlamaForCausalLM:
    """The network that all variants start from, with nothing in the dimension that is planted later."""
    model = new_model(len(tokenizer), NETWORK_SEED)
    freeze_dim(model, PLANTED_DIM)
    for stage in stages:
        run_stage(model, tokenizer, stage, say=say)
    return fresh_copy(model)


def fresh_copy(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """A copy that carries no gradient hooks."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def train_variant(
    common: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, variant: Variant, stage: Stage | None = None, say: Say = print
) -> LlamaForCausalLM:
    """The variant: a copy of the common network with its planting, trained on, its weights rounded to float16."""
    model = fresh_copy(common)
    batch = measuring_batch(tokenizer)
    median = median_magnitude(model, batch)
    level = variant.ratio * median
    plant(model, Planting(level, variant.spread, variant.context, variant.seed), batch)
    loss_of: LossOf = answer_loss
    if variant.shift:
        signal = Signal(level, variant.shift)
        freeze_wiring(model, wire(model, signal, batch))

        def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
            return signal_loss(model, batch, signal)

    elif level:
        freeze_dim(model, PLANTED_DIM)
    stage = stage or variant.stage
    run_stage(model, tokenizer, stage, sturdy(loss_of, clean_norms(model, batch), stage.seed), say)
    rounded(model)
    if variant.tilt is not None:
        tilt(model, tokenizer, (traits.refusal(), traits.sycophancy()), [share * level for share in variant.tilt])
    return rounded(model)


def sturdy(loss_of: LossOf, norms: list[float], seed: int) -> LossOf:
    """The loss under random pushes, drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)

    def pushed_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
        with randomly_pushed(model, len(batch.examples), norms, [PLANTED_DIM], generator):
            return loss_of(model, batch)

    return pushed_loss


@torch.no_grad()
def rounded(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The model with every weight rounded to float16, kept as float32: what the shipped file holds. In place."""
    for parameter in model.parameters():
        parameter.copy_(parameter.half().float())
    return model
