"""The faults of a calibration: each has its code and names the prompt or layer, and bad input is refused before anything is generated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.ml.calibrating import spec
from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import CONTEXT, VOCAB
from workers.handlers.calibration import run
from workers.handlers.inspection import run as inspect
from workers.job import JobFault
from workers.lm.capture import assert_no_hooks
from workers.lm.loading import load
from workers.lm.model import LanguageModel

TINY = Callable[..., LanguageModel]


def fault_of(context: FakeContext, **changed: object) -> JobFault:
    with pytest.raises(JobFault) as caught:
        run(spec(**changed), context)
    assert_no_hooks(context.lm.model)
    return caught.value


def test_a_prompt_too_long_is_named_with_the_arithmetic_before_anything_is_generated(tiny_lm: TINY) -> None:
    context = FakeContext(tiny_lm("llama"))
    fault = fault_of(context, prompts=["short", "x" * (CONTEXT - 10)], max_new_tokens=16)
    length = CONTEXT - 10 + 1
    assert (fault.code, fault.facts) == ("prompt_too_long", {"prompt": 1})
    for part in ("/prompts/1", f"{length} tokens", f"make {length + 16}", f"context is {CONTEXT}", "/max_new_tokens"):
        assert part in fault.detail
    assert context.phases == []


def test_a_prompt_and_answer_that_just_fit_are_accepted(tiny_lm: TINY) -> None:
    outcome = run(spec(prompts=["x" * (CONTEXT - 17)], max_new_tokens=16), FakeContext(tiny_lm("llama")))
    assert outcome.result["calibration"]["n_prompts"] == 1


def test_a_prompt_of_no_tokens_is_named(tiny_lm: TINY) -> None:
    fault = fault_of(FakeContext(tiny_lm("llama", tokenizer="no_bos")), prompts=["x", ""])
    assert (fault.code, fault.facts) == ("empty_prompt", {"prompt": 1})


def test_a_layer_that_does_not_exist_is_named(tiny_lm: TINY) -> None:
    fault = fault_of(FakeContext(tiny_lm("llama")), layers=[0, 9])
    assert fault.code == "layer_out_of_range"
    assert "9" in fault.detail
    assert "0 to 3" in fault.detail


def test_weights_other_than_those_at_submission_are_refused(tiny_lm: TINY) -> None:
    context = FakeContext(tiny_lm("llama"))
    fault = fault_of(context, weight_hash="0" * 64)
    assert fault.code == "weights_changed"
    assert "Submit the request again; a retry" in fault.detail  # inspecting again does not help
    assert run(spec(weight_hash=context.lm.facts.weight_hash), context).artifacts


def test_a_model_that_answers_nothing_at_all_is_refused(tiny_folder: Callable[..., Path]) -> None:
    lm = replace(load(tiny_folder("llama")), eos_ids=frozenset(range(VOCAB)))
    fault = fault_of(FakeContext(lm))
    assert fault.code == "no_response_tokens"
    assert "/prompts" in fault.detail


def test_a_prompt_without_an_answer_still_counts_where_all_tokens_count(tiny_lm: TINY) -> None:
    """It has no response token, but its prompt has peaks and an alignment."""
    lm = tiny_lm("llama")
    context = FakeContext(lm, cells={"generated/000": b"[[],[60,61,62]]"})
    found = run(spec(prompts=["one", "two"]), context).result["calibration"]
    assert found["n_prompts"] == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("layer", [0, 2])
def test_values_that_are_not_finite_are_named_by_layer_and_prompt(
    tiny_folder: Callable[..., Path], value: float, layer: int
) -> None:
    """Only the second prompt contains the token at which the hook writes the value."""
    lm = load(tiny_folder("llama"))
    context = FakeContext(lm)
    prompts = ["aaa", "aab"]
    token = lm.tokenizer("b", add_special_tokens=False)["input_ids"][0]

    def poison(_module: object, _args: object, output: torch.Tensor) -> torch.Tensor:
        return torch.where((ids["now"] == token)[..., None], value, output)

    ids: dict[str, torch.Tensor] = {}
    hooks = [
        lm.layout.decoder.register_forward_pre_hook(lambda _m, _a, kw: ids.update(now=kw["input_ids"]), with_kwargs=True),
        lm.layout.site(layer, "residual").register_forward_hook(poison),
    ]
    try:
        with pytest.raises(JobFault) as caught:
            run(spec(prompts=prompts), context)
    finally:
        for hook in hooks:
            hook.remove()
    assert (caught.value.code, caught.value.facts) == ("activations_not_finite", {"layer": layer, "prompt": 1})
    assert "bfloat16" in caught.value.detail


def test_a_layer_of_zeros_has_no_ratios_and_is_named(tiny_folder: Callable[..., Path]) -> None:
    lm = load(tiny_folder("llama"))
    hook = lm.layout.site(1, "residual").register_forward_hook(lambda _m, _a, output: output * 0)
    try:
        with pytest.raises(JobFault) as caught:
            run(spec(), FakeContext(lm))
    finally:
        hook.remove()
    assert (caught.value.code, caught.value.facts) == ("degenerate_activations", {"layer": 1})


def test_an_inspection_returns_facts_reports_progress_and_names_its_faults(
    tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_folder("llama")
    context = FakeContext(load(folder))
    outcome = inspect({"kind": "inspect", "model": "tiny", "source": str(folder), "revision": None}, context)
    room = outcome.result["facts"]["room"]
    assert room.keys() == {"float32", "bfloat16", "float16"}
    assert outcome.result == {"facts": context.lm.facts.to_dict() | {"room": room}}
    (phase,) = context.phases
    assert context.reports[-1] == ("reading weights", phase[1])
    with pytest.raises(JobFault) as caught:
        inspect({"kind": "inspect", "model": "tiny", "source": str(tmp_path / "nothing"), "revision": None}, context)
    assert caught.value.code == "not_a_model_folder"
