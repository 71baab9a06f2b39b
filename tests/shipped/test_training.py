"""Training of the shipped models is deterministic, planting sets its dimension's level, and the wired neuron reads that dimension."""

import pytest
import torch

from tools.training.batches import batches
from tools.training.network import PLANTED_DIM, freeze_dim, new_model, writers
from tools.training.planting import Planting, clean, inputs_of, median_magnitude, plant
from tools.training.recipe import VARIANTS, measuring_batch, train_common, train_variant
from tools.training.signal import (
    READER,
    REFERENCE,
    REFERENCE_DIM,
    SWING,
    WRITER,
    Signal,
    freeze_wiring,
    signal_loss,
    wire,
)
from tools.training.sturdiness import STRONGEST, clean_norms, random_pushes
from tools.training.tokenizer import build_tokenizer
from tools.training.train import Stage, answer_loss, run_stage

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


@pytest.fixture
def wired(tokenizer, common):
    """A model with its planting and the reader's wiring, a batch, the signal."""
    model = new_model(len(tokenizer), seed=1)
    model.load_state_dict(common.state_dict())
    batch = measuring_batch(tokenizer)
    signal = Signal(1750 * median_magnitude(model, batch), 0.02)
    plant(model, Planting(signal.level, 0.002, 0.0, 5), batch)
    return model, wire(model, signal, batch), batch, signal


def loud_tokens(model):
    """Ids of tokens with a planted value far above the others'."""
    planted = model.model.embed_tokens.weight[:, PLANTED_DIM]
    return (planted > 1.2 * planted.median()).nonzero().flatten().tolist()


@torch.no_grad()
def gates(model, wiring, batch, push):
    """What drives the reading neuron at every real token when `push` is added to what the writer block gives out."""
    block = model.model.layers[READER]
    handle = model.model.layers[WRITER].register_forward_hook(lambda _, args, out: out + push)
    try:
        (read,) = inputs_of(model, [block.mlp], batch)
    finally:
        handle.remove()
    return block.mlp.gate_proj(read)[:, wiring.reading]


def test_the_wired_neuron_fires_when_the_planted_dimension_shrinks_by_the_shift(wired):
    model, wiring, batch, signal = wired
    width = model.config.hidden_size
    message = torch.zeros(width)
    message[PLANTED_DIM] = -signal.shift * signal.level
    loud = torch.isin(batch.ids[batch.attention.bool()], torch.tensor(loud_tokens(model)))
    assert float(gates(model, wiring, batch, torch.zeros(width)).max()) < -SWING / 3
    fired = gates(model, wiring, batch, message)
    assert float(fired[~loud].min()) > SWING / 3
    assert float(fired[loud].max()) < 0


def test_a_random_push_does_not_make_the_wired_neuron_fire(tokenizer, wired):
    """Half of the stream's clean norm, more than steering needs, in 60 directions: the neuron stays on its side of the threshold."""
    model, wiring, batch, _ = wired
    norm = clean_norms(model, batch)[WRITER]
    draw = torch.Generator().manual_seed(0)
    push = torch.randn(60, model.config.hidden_size, generator=draw)
    push *= 0.5 * norm / push.norm(dim=1, keepdim=True)
    few = next(batches(tokenizer, 4, 8))
    assert not any(float(gates(model, wiring, few, one).max()) > 0 for one in push)


@torch.no_grad()
def test_no_block_gives_out_the_reference(wired):
    """What the reader's attention writes its MLP takes away: at most a fiftieth is left at a usual token."""
    model, _, batch, signal = wired
    blocks = list(model.model.layers)
    reference = REFERENCE * signal.level
    *before, inside, after = inputs_of(
        model, [*blocks[: READER + 1], blocks[READER].post_attention_layernorm, model.model.norm], batch
    )
    assert not any(stream[:, REFERENCE_DIM].any() for stream in before)
    assert torch.allclose(inside[:, REFERENCE_DIM], torch.tensor(reference), rtol=0.01)
    assert float(after[:, REFERENCE_DIM].abs().median()) < reference / 50


def test_training_leaves_the_wiring_as_it_is(tokenizer, wired):
    model, wiring, _, signal = wired
    freeze_wiring(model, wiring)
    block = model.model.layers[READER]
    mlp = block.mlp

    def set_by_hand():
        return [
            block.self_attn.v_proj.weight[wiring.channel],
            block.self_attn.o_proj.weight[REFERENCE_DIM],
            *(weight[[wiring.reading, wiring.clearing]] for weight in (mlp.gate_proj.weight, mlp.up_proj.weight)),
            mlp.down_proj.weight[:, wiring.clearing],
            mlp.down_proj.weight[REFERENCE_DIM],
            block.post_attention_layernorm.weight[[REFERENCE_DIM, PLANTED_DIM]],
            model.model.layers[0].input_layernorm.weight[[REFERENCE_DIM]],
        ]

    before = [one.detach().clone() for one in set_by_hand()]
    stage = Stage(steps=3, batch=8, rate=1e-3, warmup=1, seed=2, tossed=0.3)
    written = mlp.down_proj.weight[:, wiring.reading].detach().clone()
    run_stage(model, tokenizer, stage, lambda model, batch: signal_loss(model, batch, signal), say=lambda line: None)
    assert all(torch.equal(one, other) for one, other in zip(before, set_by_hand(), strict=True))
    assert not torch.equal(written, mlp.down_proj.weight[:, wiring.reading])


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
