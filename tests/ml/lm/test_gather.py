"""Captured rows against a naive loop: one text at a time, no padding, means in float64 of what the model itself returns.

Tolerance 1e-5 of the row's norm: float32 kernels add in another order in another batch shape.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from terms.methods import parse_method
from terms.positions import Position, parse_position
from tests.ml.tiny_models import ARCHITECTURES, LAYERS, tiny_model, tiny_tokenizer
from workers.lm.capture import assert_no_hooks, prefill, reading
from workers.lm.checkpoint import quiet
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.gather import Example, gather_rows
from workers.lm.loading import load
from workers.lm.model import LanguageModel
from workers.lm.prefixes import PASS_TOKENS
from workers.science.directions.fitting import Layer, fit_all
from workers.science.examples import Examples

Lms = Callable[..., LanguageModel]
States = tuple[torch.Tensor, ...]
"""Embeddings, then the output of each block, the last after the final norm: `[1, seq, d]` each."""
POSITIONS = [parse_position(text) for text in ("response[:5]", "prompt[-1]", "all[1:-1]", "response[2]")]


def _examples(lm: LanguageModel, count: int, seed: int = 0) -> list[Example]:
    draw = torch.Generator().manual_seed(seed)

    def ids(low: int, high: int) -> list[int]:
        size = int(torch.randint(low, high, (1,), generator=draw))
        return torch.randint(3, lm.vocab_size, (size,), generator=draw).tolist()  # type: ignore[no-any-return]

    return [Example(ids(2, 12), ids(1, 9)) for _ in range(count)]


def _naive_states(lm: LanguageModel, examples: list[Example]) -> list[States]:
    """The hidden states of each example, from transformers itself, each alone."""
    model = copy.deepcopy(lm.model)  # asking for hidden states leaves hooks on a model
    with torch.no_grad():
        ids = [torch.tensor([[*one.prompt_ids, *one.response_ids]]) for one in examples]
        return [model(input_ids=row, output_hidden_states=True, use_cache=False).hidden_states for row in ids]


def _naive(states: States, example: Example, position: Position, layer: int) -> torch.Tensor | None:
    """The window's mean of the block's output, in float64."""
    window = example.window(position)
    return states[layer + 1][0, window.start : window.stop].double().mean(0) if window else None


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_rows_equal_the_naive_loop_in_every_architecture(tiny_lm: Lms, arch: str) -> None:
    lm = tiny_lm(arch)
    examples = _examples(lm, 9)
    layers = list(range(lm.layout.n_layers - 1))  # transformers gives the last layer after the final norm
    rows = gather_rows(lm, examples, positions=POSITIONS, components=["residual"], layers=layers, pass_tokens=60)
    states = _naive_states(lm, examples)
    for position in POSITIONS:
        for layer in layers:
            each = [_naive(of_one, one, position, layer) for of_one, one in zip(states, examples, strict=True)]
            wanted = [row for row in each if row is not None]
            found = rows.values[str(position), "residual", layer].double()
            assert found.shape == (len(wanted), lm.layout.hidden_size)
            gap = (found - torch.stack(wanted)).norm(dim=1) / torch.stack(wanted).norm(dim=1)
            assert float(gap.max()) < 1e-5


def _related(lm: LanguageModel, seed: int = 7) -> list[Example]:
    """Two long prefixes, each before the same questions of several lengths; one prompt is a prefix of others, and one row comes twice."""
    draw = torch.Generator().manual_seed(seed)

    def ids(size: int) -> list[int]:
        return torch.randint(3, lm.vocab_size, (size,), generator=draw).tolist()  # type: ignore[no-any-return]

    heads, questions = [ids(30), ids(23)], [ids(3 + i % 6) for i in range(8)]
    examples = [Example([*head, *question], ids(i % 7)) for head in heads for i, question in enumerate(questions)]
    return [*examples, Example(heads[0][:14], heads[0][14:18]), examples[3], Example(heads[1], [])]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_rows_after_a_shared_prefix_equal_the_naive_loop_in_every_architecture(tiny_lm: Lms, arch: str) -> None:
    """Prefixes beyond the sliding window of 12, read by windows within, across and after them; no block above the highest layer runs."""
    lm = tiny_lm(arch)
    examples = _related(lm)
    positions = [*POSITIONS, *map(parse_position, ("all[:]", "prompt[-5:]", "prompt[3:20]"))]
    layers = list(range(lm.layout.n_layers - 1))
    above: list[int] = []
    handle = lm.layout.site(lm.layout.n_layers - 1, "residual").register_forward_pre_hook(lambda *_: above.append(1))
    rows = gather_rows(lm, examples, positions=positions, components=["residual"], layers=layers, pass_tokens=64)
    handle.remove()
    assert above == []
    assert rows.plan is not None
    assert rows.plan.shared is not lm.layout.grouped
    assert lm.layout.grouped or rows.plan.block_tokens < 0.5 * rows.plan.tokens
    states = _naive_states(lm, examples)
    for position in positions:
        for place, index in enumerate(rows.kept[str(position)]):
            for layer in layers:
                wanted = _naive(states[index], examples[index], position, layer)
                assert wanted is not None
                found = rows.values[str(position), "residual", layer][place].double()
                assert float((found - wanted).norm() / wanted.norm()) < 1e-5


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_deepest_block_computes_only_keys_and_values_where_no_window_looks(tiny_lm: Lms, arch: str) -> None:
    """The rows keep their bits: those of layer 0 are the same when layer 1 is read too, for which block 0 runs whole everywhere."""
    lm = tiny_lm(arch)
    asked = {"positions": [parse_position("response[:5]")], "components": ["residual"]}
    examples = [one for one in _related(lm) if one.response_ids]
    begun: list[int] = []
    ended: list[int] = []
    block = lm.layout.site(0, "residual")
    handles = [
        block.register_forward_pre_hook(lambda *_: begun.append(1)),
        block.register_forward_hook(lambda *_: ended.append(1)),
    ]
    rows = gather_rows(lm, examples, layers=[0], **asked)
    for handle in handles:
        handle.remove()
    assert rows.plan is not None
    assert len(begun) == len(rows.plan.passes)
    assert len(ended) == len(begun) if lm.layout.grouped else len(ended) <= sum(not one.kept for one in rows.plan.passes) + 1
    both = gather_rows(lm, examples, layers=[0, 1], **asked)
    assert torch.equal(rows.values["response[:5]", "residual", 0], both.values["response[:5]", "residual", 0])


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_vectors_equal_the_naive_loop_for_any_stored_type_batch_and_padding_side(arch: str, stored: str, tmp_path: Path) -> None:
    """Any stored type run in float32, in batches; run in its own type, with each row alone, because 16-bit batches may differ."""
    with quiet():
        tiny_model(arch).to(getattr(torch, stored)).save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
    position, layers = parse_position("response[:5]"), list(range(LAYERS - 1))
    described = Examples.build([str(i) for i in range(4)], [str(i) for i in range(4)])
    for dtype, sizes in (("float32", (1, 60, PASS_TOKENS)), (stored, (1,))):
        lm = load(tmp_path, dtype=dtype)
        examples = _examples(lm, 8, seed=5)
        each = list(zip(_naive_states(lm, examples), examples, strict=True))
        alone = [[_naive(of_one, one, position, layer) for of_one, one in each] for layer in layers]
        for side in ("left", "right"):
            lm.tokenizer.padding_side = side
            for pass_tokens in sizes:
                rows = gather_rows(
                    lm, examples, positions=[position], components=["residual"], layers=layers, pass_tokens=pass_tokens
                )
                for layer in layers:
                    values = rows.values[str(position), "residual", layer].numpy()
                    [found] = fit_all(Layer(values, described), [parse_method("mean_diff")], resamples=0)
                    stacked = torch.stack([row for row in alone[layer] if row is not None])
                    wanted = stacked[:4].mean(0) - stacked[4:].mean(0)
                    assert float((torch.from_numpy(found.vector_D) - wanted / wanted.norm()).norm()) < 1e-5


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_component_equals_its_module_s_output_for_the_row_alone(tiny_lm: Lms, arch: str) -> None:
    lm = tiny_lm(arch)
    examples, layer = _examples(lm, 5, seed=1), lm.layout.n_layers - 1
    position = parse_position("response[:3]")
    rows = gather_rows(lm, examples, positions=[position], components=lm.layout.components, layers=[layer])
    for component in lm.layout.components:
        for place, example in enumerate(examples):
            seen: list[torch.Tensor] = []
            with reading(lm, {component: lambda _l, _c, tensor, seen=seen: seen.append(tensor)}, [layer]):
                prefill(lm, [*example.prompt_ids, *example.response_ids])
            window = example.window(position)
            alone = seen[0][0, window.start : window.stop].double().mean(0)
            found = rows.values[str(position), component, layer][place].double()
            assert float((found - alone).norm() / alone.norm()) < 1e-5


def test_another_batch_size_changes_rounding_only_and_the_same_one_nothing(tiny_lm: Lms) -> None:
    lm = tiny_lm("llama")
    examples = _examples(lm, 40, seed=2)
    asked = {"positions": POSITIONS, "components": ["residual"], "layers": [0, 1]}
    once, again, small = (gather_rows(lm, examples, pass_tokens=n, **asked) for n in (PASS_TOKENS, PASS_TOKENS, 60))
    for site, values in once.values.items():
        assert torch.equal(values, again.values[site])
        assert float((values - small.values[site]).norm() / values.norm()) < 1e-5


@settings(max_examples=25, deadline=None)
@given(
    frame=st.sampled_from(["prompt", "response", "all"]),
    start=st.none() | st.integers(-6, 6),
    stop=st.none() | st.integers(-6, 6),
)
def test_any_window_is_the_mean_of_its_single_tokens(
    shared_llama: LanguageModel, frame: str, start: int | None, stop: int | None
) -> None:
    lm = shared_llama
    examples = _examples(lm, 6, seed=3)
    singles = [Position(frame, i, None, single=True) for i in range(24)]
    window = Position(frame, start, stop)
    rows = gather_rows(lm, examples, positions=[window, *singles], components=["residual"], layers=[1])
    token = {(i, str(p)): rows.values[str(p), "residual", 1][n] for p in singles for n, i in enumerate(rows.kept[str(p)])}
    for place, index in enumerate(rows.kept[str(window)]):
        example = examples[index]
        offset = len(example.prompt_ids) if frame == "response" else 0
        mean = torch.stack([token[index, f"{frame}[{at - offset}]"] for at in example.window(window)]).mean(0)
        assert torch.allclose(rows.values[str(window), "residual", 1][place], mean, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def shared_llama(tiny_folder: Callable[..., Path]) -> LanguageModel:
    return load(tiny_folder("llama"))


def test_examples_with_an_empty_window_are_left_out_and_named(tiny_lm: Lms) -> None:
    lm = tiny_lm("llama")
    examples = [Example([5, 6, 7], [8, 9]), Example([5, 6], []), Example([5], [6, 7, 8])]
    rows = gather_rows(
        lm,
        examples,
        positions=[parse_position("response[:5]"), parse_position("prompt[-2]")],
        components=["residual"],
        layers=[0],
    )
    assert rows.kept == {"response[:5]": [0, 2], "prompt[-2]": [0, 1]}
    assert rows.values["response[:5]", "residual", 0].shape == (2, lm.layout.hidden_size)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_planted_massive_dimension_neither_overflows_nor_swallows_the_small_ones(tiny_lm: Lms, dtype: str) -> None:
    """Means are taken in float32 from the stored dtype: sums of five times 30,000 pass 65,504, and small dims keep their own precision."""
    lm = tiny_lm("llama", dtype=dtype)
    example = Example([5, 6, 7], [8, 9, 10, 11, 12])
    embedding = lm.model.get_input_embeddings()

    def plant(_module: object, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        planted = output.clone()
        planted[..., 3] = 30_000
        return planted

    handle = embedding.register_forward_hook(plant)
    tokens: list[torch.Tensor] = []
    try:
        rows = gather_rows(lm, [example], positions=[parse_position("response[:5]")], components=["residual"], layers=[0])
        with reading(lm, {"residual": lambda _l, _c, tensor: tokens.append(tensor[0, 3:8].double())}, [0]):
            prefill(lm, [*example.prompt_ids, *example.response_ids])
    finally:
        handle.remove()
    found, wanted = rows.values["response[:5]", "residual", 0][0].double(), tokens[0].mean(0)
    assert abs(float(found[3])) > 25_000
    small = torch.arange(len(found)) != 3
    assert float((found - wanted)[small].norm() / wanted[small].norm()) < 1e-5


def _failing(lm: LanguageModel, times: int) -> Any:
    """Makes memory run out in the next `times` passes; returns the handle of its hook."""
    left = [times]

    def too_big(*_: object) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    return lm.layout.site(0, "residual").register_forward_pre_hook(too_big)


def test_a_pass_that_ran_out_of_memory_is_repeated_in_its_shape_to_the_last_bit(tiny_lm: Lms) -> None:
    """A pass in another shape would give other last bits, so the result would depend on memory. At a second failure the job ends."""
    lm = tiny_lm("llama")
    examples = [Example([*range(5, 35), i], [i + 1] * (i % 5 + 1)) for i in range(40, 60)]
    asked = {"positions": POSITIONS, "components": ["residual"], "layers": [0, 1]}
    whole = gather_rows(lm, examples, **asked)
    handle = _failing(lm, 1)
    try:
        again = gather_rows(lm, examples, **asked)
    finally:
        handle.remove()
    assert all(torch.equal(values, again.values[site]) for site, values in whole.values.items())
    handle = _failing(lm, 2)
    try:
        with pytest.raises(OutOfMemory, match="1 GiB more was needed"):
            gather_rows(lm, examples, **asked)
    finally:
        handle.remove()
    assert_no_hooks(lm.model)


def test_values_that_are_not_finite_name_their_layer_and_example(tiny_lm: Lms) -> None:
    lm = tiny_lm("llama")
    site = lm.layout.site(1, "residual")
    handle = site.register_forward_hook(lambda _m, _i, out: out * float("nan"))
    try:
        with pytest.raises(ModelFault, match=r"residual of layer 1 .* example 0") as fault:
            gather_rows(lm, [Example([5, 6], [7])], positions=[parse_position("all[:]")], components=["residual"], layers=[0, 1])
    finally:
        handle.remove()
    assert fault.value.code == "activations_not_finite"
