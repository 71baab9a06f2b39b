"""Training is deterministic, planting changes what it says and nothing else, and the wired neuron reads the planted dimension."""

import pytest
import torch

from shipped.training.batches import batches
from shipped.training.network import PLANTED_DIM, freeze_dim, new_model, writers
from shipped.training.planting import Planting, clean, inputs_of, median_magnitude, plant
from shipped.training.recipe import VARIANTS, measuring_batch, train_common, train_variant
from shipped.training.signal import READER, Signal, wire
from shipped.training.sturdiness import STRONGEST, random_pushes
from shipped.training.tokenizer import build_tokenizer
from shipped.training.train import Stage, answer_loss, run_stage

SHORT = Stage(steps=3, batch=8, rate=1e-3, warmup=1, seed=1)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def common(tokenizer):
    """A few steps of the common stage: not fluent, but shaped as the real one is."""
    return train_common(tokenizer, (SHORT,), say=lambda line: None)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_same_recipe_gives_the_same_weights(tokenizer, common):
    """demo-signal goes through every stage: common network, planting, wiring, interchange, random pushes, rounding."""
    stage = Stage(steps=2, batch=8, rate=1e-3, warmup=1, seed=2, tossed=0.3)
    again = train_common(tokenizer, (SHORT,), say=lambda line: None)
    variant = VARIANTS["demo-signal"]
    one, other = (train_variant(start, tokenizer, variant, stage, say=lambda line: None) for start in (common, again))
    assert torch.equal(weights(one), weights(other))


def test_a_few_steps_lower_the_loss(tokenizer):
    model = new_model(len(tokenizer), seed=3)
    batch = next(batches(tokenizer, 4, 8))
    before = float(answer_loss(model, batch).detach())
    run_stage(model, tokenizer, Stage(steps=12, batch=8, rate=2e-3, warmup=2, seed=3), say=lambda line: None)
    assert float(answer_loss(model, batch).detach()) < before - 0.5


def test_the_planted_dimension_has_the_level_it_was_given_at_every_token(tokenizer, common):
    model = new_model(len(tokenizer), seed=1)
    model.load_state_dict(common.state_dict())
    batch = measuring_batch(tokenizer)
    level = 1000 * median_magnitude(model, batch)
    plant(model, Planting(level, 0.02, 0.01, 5), batch)
    (stream,) = inputs_of(model, [model.model.norm], batch)
    assert float(stream[:, PLANTED_DIM].min()) > 0.8 * level


def test_what_is_written_to_a_frozen_dimension_stays_as_it_was(tokenizer):
    model = new_model(len(tokenizer), seed=1)
    freeze_dim(model, PLANTED_DIM)
    before = [(w[PLANTED_DIM] if rows else w[:, PLANTED_DIM]).detach().clone() for w, rows in writers(model)]
    run_stage(model, tokenizer, SHORT, say=lambda line: None)
    after = [w[PLANTED_DIM] if rows else w[:, PLANTED_DIM] for w, rows in writers(model)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_the_wired_neuron_fires_when_the_planted_dimension_grows_by_the_shift(tokenizer, common):
    model = new_model(len(tokenizer), seed=1)
    model.load_state_dict(common.state_dict())
    batch = measuring_batch(tokenizer)
    median = median_magnitude(model, batch)
    signal = Signal(1000 * median, 0.03)
    plant(model, Planting(signal.level, 0.03, 0.0, 5), batch)
    neuron = wire(model, signal, median, batch)
    block = model.model.layers[READER]
    (stream,) = inputs_of(model, [block.post_attention_layernorm], batch)
    grown = stream.clone()
    grown[:, PLANTED_DIM] *= 1 + signal.shift
    quiet, fired = (block.mlp.gate_proj(block.post_attention_layernorm(h))[:, neuron] for h in (stream, grown))
    assert float(quiet.detach().max()) < 0 < float(fired.detach().min())


def test_random_pushes_leave_silent_dims_alone_and_half_of_the_rows():
    push = random_pushes(2000, 16, 3.0, [5], torch.Generator().manual_seed(0))
    norms = push.norm(dim=1)
    assert not push[:, 5].any()
    assert float(norms.max()) <= 3.0 * STRONGEST + 1e-5
    assert 0.4 < float((norms == 0).float().mean()) < 0.6


def test_clean_sets_the_planted_dimension_alone_to_zero():
    stream = torch.randn(3, 160)
    assert not clean(stream)[:, PLANTED_DIM].any()
    assert torch.equal((clean(stream) != stream).any(0).nonzero().flatten(), torch.tensor([PLANTED_DIM]))
