"""The effect of a push is measured, a push without effect is a fault, no hook is left after an error, and bad pushes are refused
(docs/science.md, 4.1)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.ml.lm.test_lm_generation import OutOfMemoryAbove, some_prompts
from tests.ml.steered_rows import naive, typical_norm
from tests.ml.tiny_models import ARCHITECTURES, HIDDEN, LAYERS
from workers.lm.capture import assert_no_hooks, prefill
from workers.lm.errors import ModelFault, OutOfMemory
from workers.lm.hooks import hooked
from workers.lm.interventions import Push
from workers.lm.model import LanguageModel
from workers.lm.refilling import GenerationCounts
from workers.lm.steered import SteeredRow, generate_steered

PROMPT = some_prompts(3, 1, longest=12)[0]


def unit(width: int = HIDDEN, seed: int = 0) -> torch.Tensor:
    vector = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def row(c: float, layer: int = 1, **options: Any) -> SteeredRow:
    return SteeredRow(PROMPT, (Push(layer, "residual", unit(), c, **options),))


def test_a_push_that_is_lost_in_one_pass_over_prompts_is_a_fault(tiny_lm: Callable[..., LanguageModel]) -> None:
    """The first 24 tokens of three prompts are one pass and the rest another, in which the block's hooks are gone."""
    lm = replace(tiny_lm("llama"), eos_ids=frozenset())
    rows = [replace(row(3.0), prompt_ids=[*range(10, 34), *range(40 + number, 45 + number)]) for number in range(3)]
    hooks, kept = lm.layout.sites[1]["residual"]._forward_hooks, {}
    passes = iter(range(1000))

    def between_passes(_counts: GenerationCounts) -> None:
        match next(passes):
            case 0:
                kept.update(hooks)
                hooks.clear()
            case 1:
                hooks.update(kept)

    with pytest.raises(ModelFault, match="steered at 30 pairs of site and position; its hooks ran at 26 "):
        generate_steered(lm, rows, max_new_tokens=2, batch_rows=3, on_step=between_passes)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_hooks_fire_at_every_position_and_change_the_stream_by_the_coefficient(
    arch: str, tiny_lm: Callable[..., LanguageModel]
) -> None:
    lm = replace(tiny_lm(arch), eos_ids=frozenset())
    new, prompt = 5, len(PROMPT)
    rows = [row(3.0), row(3.0, scope="response"), row(3.0, scope="prompt"), row(1.0, operation="ablate"), SteeredRow(PROMPT)]
    effects = [answer.effect for answer in generate_steered(lm, rows, max_new_tokens=new, batch_rows=3)]
    positions = [prompt + new - 1, new - 1, prompt, LAYERS * (prompt + new - 1), 0]  # the last new token is not read
    assert [one["fires"] for one in effects] == [one["due"] for one in effects] == positions
    for one in effects[:3]:
        assert one["mean_change"] == pytest.approx(3.0, rel=1e-3)
        assert one["asked"] == pytest.approx(3.0)
    assert effects[3]["mean_change"] > 0
    assert effects[3]["asked"] is None
    assert effects[4]["mean_change"] == 0


def test_a_push_that_lost_its_hook_is_a_fault(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = replace(tiny_lm("llama"), eos_ids=frozenset())

    def unhook(_counts: GenerationCounts) -> None:
        lm.layout.site(1, "residual")._forward_hooks.clear()

    with pytest.raises(ModelFault, match="no_effect") as fault:
        generate_steered(lm, [row(3.0)], max_new_tokens=4, batch_rows=1, on_step=unhook)
    assert "its hooks ran at" in fault.value.sentence


@pytest.mark.parametrize(("dtype", "c"), [("float32", 1e-12), ("bfloat16", 1e-6)])
def test_a_dose_below_the_types_precision_is_a_fault(tiny_lm: Callable[..., LanguageModel], dtype: str, c: float) -> None:
    with pytest.raises(ModelFault, match="below the precision"):
        generate_steered(tiny_lm("llama", dtype=dtype), [row(c)], max_new_tokens=4, batch_rows=1)


class CancelledError(Exception):
    pass


def test_no_hook_remains_after_any_exception(tiny_lm: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    lm = replace(tiny_lm("llama"), eos_ids=frozenset())

    def cancel(_counts: GenerationCounts) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        generate_steered(lm, [row(3.0)] * 3, max_new_tokens=4, batch_rows=2, on_step=cancel)
    assert_no_hooks(lm.model)
    monkeypatch.setattr(lm.model, "forward", OutOfMemoryAbove(lm, 0))
    with pytest.raises(OutOfMemory):
        generate_steered(lm, [row(3.0)] * 3, max_new_tokens=4, batch_rows=2)
    assert_no_hooks(lm.model)
    monkeypatch.undo()
    block = lm.layout.site(2, "residual")
    monkeypatch.setattr(block, "forward", lambda *_args, **_kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate_steered(lm, [row(3.0)] * 3, max_new_tokens=4, batch_rows=2)
    assert_no_hooks(lm.model)
    monkeypatch.undo()
    assert generate_steered(lm, [row(3.0)], max_new_tokens=4, batch_rows=1)[0].ids == naive(lm, row(3.0), 4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_dose_that_overflows_marks_its_row_and_changes_no_other(tiny_lm: Callable[..., LanguageModel], dtype: str) -> None:
    lm = replace(tiny_lm("llama", dtype=dtype), eos_ids=frozenset())
    calm = row(typical_norm(lm, 1, "residual"))
    broken = [row(1e39), row(1e39, scope="response")] + ([row(1e6)] if dtype == "float16" else [])
    rows = [calm, *broken, SteeredRow(PROMPT)]
    answers = generate_steered(lm, rows, max_new_tokens=6, batch_rows=len(rows))
    assert [answer.finite for answer in answers] == [True, *[False] * len(broken), True]
    assert answers[1].ids == []
    assert len(answers[2].ids) == 1  # its first token follows from the prompt, which is not steered
    assert all(answer.effect["fires"] > 0 for answer in answers[:-1])
    alone = generate_steered(lm, [calm], max_new_tokens=6, batch_rows=1)[0].ids
    if dtype == "float32":
        assert answers[0].ids == alone
    assert len(answers[0].ids) == len(alone) == 6


@pytest.mark.parametrize(
    ("push", "code"),
    [
        ({"layer": LAYERS}, "layer_out_of_range"),
        ({"layer": -1}, "layer_out_of_range"),
        ({"component": "embedding"}, "unknown_component"),
        ({"vector": unit(HIDDEN + 1)}, "wrong_width"),
        ({"vector": unit()[None]}, "wrong_width"),
        ({"component": "k_proj"}, "wrong_width"),
        ({"vector": torch.zeros(HIDDEN)}, "vector_not_finite"),
        ({"vector": torch.full((HIDDEN,), float("nan"))}, "vector_not_finite"),
        ({"coefficient": 0.0}, "bad_coefficient"),
        ({"coefficient": float("nan")}, "bad_coefficient"),
        ({"coefficient": float("inf")}, "bad_coefficient"),
        ({"operation": "rotate"}, "unknown_operation"),
        ({"operation": "ablate", "component": "v_proj", "vector": unit(32)}, "unknown_operation"),
        ({"scope": "prefix"}, "unknown_scope"),
        ({"massive": (HIDDEN,)}, "bad_massive_dims"),
        ({"massive": (0,), "component": "k_proj", "vector": unit(32)}, "bad_massive_dims"),
        ({"operation": "ablate", "vector": torch.eye(HIDDEN)[3], "massive": (3,)}, "no_clean_part"),
        ({"operation": "norm_match", "vector": torch.eye(HIDDEN)[3], "massive": (3,)}, "no_clean_part"),
    ],
)
def test_bad_pushes_are_refused_before_anything_runs(
    tiny_lm: Callable[..., LanguageModel], push: dict[str, Any], code: str
) -> None:
    asked: dict[str, Any] = {"layer": 1, "component": "residual", "vector": unit(), "coefficient": 1.0} | push
    started: list[object] = []
    with pytest.raises(ModelFault) as fault:
        generate_steered(
            tiny_lm("llama"), [SteeredRow(PROMPT, (Push(**asked),))], max_new_tokens=2, batch_rows=1, on_step=started.append
        )
    assert fault.value.code == code
    assert not started


def test_rows_of_one_prompt_are_computed_once_up_to_the_layer_of_their_pushes(tiny_lm: Callable[..., LanguageModel]) -> None:
    """Five doses at layer 2 share blocks 0 to 2 of the prompt; five that act on the response only share all blocks of it."""
    lm = replace(tiny_lm("llama"), eos_ids=frozenset())
    for scope, expected in (("all", [1, 1, 1, 5]), ("response", [1, 1, 1, 1])):
        seen: dict[int, int] = {}
        handles = [
            lm.layout.site(layer, "residual").register_forward_pre_hook(
                lambda _m, args, layer=layer, seen=seen: seen.setdefault(layer, len(args[0])) and None  # rows of the first pass
            )
            for layer in range(LAYERS)
        ]
        try:
            rows = [row(float(c), layer=2, scope=scope) for c in range(1, 6)]
            together = generate_steered(lm, rows, max_new_tokens=3, batch_rows=5)
        finally:
            for handle in handles:
                handle.remove()
        assert [seen[layer] for layer in range(LAYERS)] == expected
        assert [answer.ids for answer in together] == [naive(lm, one, 3) for one in rows]


def test_hooks_at_a_place_that_the_model_lacks_are_a_fault(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama")
    for site, code in {(0, "q_proj"): "unknown_component", (LAYERS, "residual"): "layer_out_of_range"}.items():
        with pytest.raises(ModelFault) as found, hooked(lm, [(0, "residual"), site]):
            pass
        assert found.value.code == code
    assert_no_hooks(lm.model)


def test_a_pass_that_ran_out_of_memory_in_a_push_leaves_nothing_for_the_next(tiny_lm: Callable[..., LanguageModel]) -> None:
    """The next batch may push elsewhere. The failed site once counted as fired, and was measured against the rows of the failed pass."""
    lm, site = tiny_lm("llama"), (1, "residual")

    def no_room(_h_BTD: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    with hooked(lm, [site]) as hooks:
        with pytest.raises(torch.OutOfMemoryError), hooks.during({site: no_room}, measuring=True):
            prefill(lm, PROMPT)
        with hooks.during({}, measuring=True):
            prefill(lm, PROMPT[:4])
        assert (hooks.fired, hooks.change()) == (set(), None)
