"""Every field of calibration.json against the naive float64 reference, and planted dims found exactly where they were planted."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from tests.ml.calibrating import PROMPTS, assert_agrees, calibrate, reference_of, spec
from tests.ml.fake_context import FakeContext
from tests.ml.tiny_models import LAYERS, Planted
from workers.handlers.calibration import run, shipped_prompts
from workers.lm.model import LanguageModel

DIM, OTHER = 17, 40
TINY = Callable[..., LanguageModel]

# The residual stream of these grows larger, so the same severity needs larger values.
LARGER = {"gpt2": 4.0, "gpt_neox": 5.0, "gpt_neox_sequential": 5.0}


def planted(arch: str, value: float, where: str = "every_token", spread: float = 0.0, dim: int = DIM) -> Planted:
    return Planted(dim, value * LARGER.get(arch, 1.0), where, spread)


# name: ((where, value, spread) of the planted dim, scope, verdict)
CASES = {
    "none": ((), "none", "none"),
    "severe": (("every_token", 1000.0, 0.0), "every_token", "severe"),
    "mild": (("every_token", 80.0, 0.3), "every_token", "mild"),
    "first_token": (("first_token", 100.0, 0.0), "token_local", "none"),
    "delimiters": (("delimiters", 100.0, 0.0), "token_local", "none"),
}
FULL = ("llama", "gemma3")
REST = ("gpt2", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_multimodal", "olmo2", "phi3", "gpt_neox", "gpt_neox_sequential")
GRID = [(arch, case) for arch in FULL for case in CASES] + [
    (arch, ("severe", "mild", "first_token")[i % 3]) for i, arch in enumerate(REST)
]


@pytest.mark.parametrize(("arch", "case"), GRID)
def test_every_field_equals_the_reference_and_the_planted_dim_is_found_where_it_was_planted(
    tiny_lm: TINY, arch: str, case: str
) -> None:
    plant, scope, verdict = CASES[case]
    plants = (planted(arch, plant[1], plant[0], plant[2]),) if plant else ()
    lm = tiny_lm(arch, planted=plants)
    found = calibrate(lm)["aggregate"]
    assert_agrees(found, reference_of(lm).aggregate("peeling"))

    everywhere = {str(layer): [str(DIM)] for layer in range(LAYERS)}
    located = {layer: list(dims) for layer, dims in found["location"].items()}
    assert found["massive_dims"]["dims"] == ([DIM] if scope == "every_token" else [])
    assert (found["severity"]["scope"], found["severity"]["verdict"]) == (scope, verdict)
    if case == "none":
        assert located == {}
    elif arch not in LARGER or case in ("severe", "mild"):
        assert located == everywhere
    if case in ("severe", "mild"):
        assert found["severity"]["dominant_dim"] == DIM
    if case in ("first_token", "delimiters"):
        places = [dims[str(DIM)] for dims in found["location"].values()]
        assert places
        assert all(place[case.replace("delimiters", "first_delimiter")] > 0.7 for place in places)


# the same for every rule, and for every choice of layers, below
once = cache(reference_of)
calibrated_once = cache(calibrate)


@pytest.mark.parametrize("rule", ["peeling", "peel:0.3", "ratio10-3layers", "top5-3layers", "all", "sun", "ratio:3"])
def test_each_rule_lists_what_the_reference_lists_and_leaves_clean_norms_and_scope_alone(tiny_lm: TINY, rule: str) -> None:
    """Two planted dims, one of them only at the first token; `sun` lists both, `peeling` one."""
    lm = tiny_lm("llama", planted=(Planted(DIM, 3000.0, "every_token", 0.2), Planted(OTHER, 900.0, "first_token")))
    found = calibrate(lm, rule=rule)["aggregate"]
    assert_agrees(found, once(lm).aggregate(rule))
    default = calibrated_once(lm)["aggregate"]
    assert found["clean_norms"] == default["clean_norms"]
    assert found["severity"] == default["severity"]
    assert default["massive_dims"] == {"rule": "peeling", "dims": [DIM]}


@pytest.mark.parametrize("layers", [[3], [0, 2], [2, 3, 1], [0, 1]])
def test_a_subset_of_layers_equals_the_reference_on_those_layers(tiny_lm: TINY, layers: list[int]) -> None:
    lm = tiny_lm("qwen3", planted=(Planted(DIM, 70.0),))
    content = calibrate(lm, layers=layers)
    assert content["provenance"]["layers"] == sorted(layers)
    answers = [answer for _, answer in once(lm).rows]
    assert_agrees(content["aggregate"], reference_of(lm, layers=sorted(layers), answers=answers).aggregate("peeling"))


def test_a_chat_template_is_applied_once_and_named_as_the_variant(tiny_lm: TINY) -> None:
    lm = tiny_lm("llama", tokenizer="chat", planted=(Planted(DIM, 100.0, "first_token"),))
    content = calibrate(lm)
    assert content["model_variant"] == "chat"
    assert calibrate(tiny_lm("llama"))["model_variant"] == "base"
    assert_agrees(content["aggregate"], reference_of(lm).aggregate("peeling"))
    at_first = {place[str(DIM)]["first_token"] for place in content["aggregate"]["location"].values()}
    assert at_first == {1.0}  # the dim is planted at BOS, which stands at the start only


def test_a_dim_that_stands_out_only_in_late_prompts_has_exact_quantiles(tiny_lm: TINY) -> None:
    """Per-token values are kept for dims that look large so far; the first prompts must be read again for the others."""
    lm = tiny_lm("llama", planted=(Planted(DIM, 20.0, "every_token", 1.0), Planted(OTHER, 300.0, "delimiters")))
    prompts = [*("plain words " * 2 for _ in range(4)), *(";,.!?:;,.!?" for _ in range(5))]
    found = calibrate(lm, prompts=prompts, rule="all")["aggregate"]
    assert_agrees(found, reference_of(lm, prompts=prompts).aggregate("all"))


def test_the_file_states_its_provenance_and_the_result_summarises_it(tiny_lm: TINY) -> None:
    lm = tiny_lm("llama", planted=(Planted(DIM, 1000.0),))
    outcome = run(spec(experiment="exp.1"), FakeContext(lm, facts={"revision": "abc123"}))
    content = json.loads(outcome.artifacts[0].data)  # type: ignore[arg-type]
    reference = reference_of(lm)
    provenance = content["provenance"]
    assert {key: content[key] for key in ("schema_version", "experiment", "model", "prompt_set", "is_calibration")} == {
        "schema_version": 2,
        "experiment": "exp.1",
        "model": "tiny",
        "prompt_set": "calibration",
        "is_calibration": True,
    }
    assert (provenance["model_source"], provenance["model_revision"]) == ("hub", "abc123")
    assert (provenance["weight_hash"], provenance["tokenizer_hash"]) == (lm.facts.weight_hash, lm.facts.tokenizer_hash)
    assert provenance["prompt_tokens"] == sum(len(prompt) for prompt, _ in reference.rows)
    assert provenance["response_tokens"] == sum(len(answer) for _, answer in reference.rows)
    assert outcome.result["calibration"] == {
        "schema_version": 2,
        "severity": content["aggregate"]["severity"],
        "massive_dims": content["aggregate"]["massive_dims"],
        "weight_hash": lm.facts.weight_hash,
        **lm.facts.reading,
        "n_prompts": len(PROMPTS),
        "layers": LAYERS,
        "model_variant": content["model_variant"],
    }


def test_the_massive_dim_of_the_pretrained_model_is_found_and_every_field_equals_the_reference(pretrained: LanguageModel) -> None:
    """The modules are named by hand here, so that the reference does not depend on how the product finds them."""

    def modules(layer: int) -> list[Any]:
        block = pretrained.model.model.layers[layer]
        return [block, block.self_attn.o_proj, block.mlp.down_proj]

    prompts = [f"{text} " for text in shipped_prompts()[:8]]
    found = calibrate(pretrained, prompts=prompts, max_new_tokens=32)["aggregate"]
    assert_agrees(found, reference_of(pretrained, prompts, 32, modules=modules).aggregate("peeling"))
    assert found["massive_dims"]["dims"] == [88]
    assert (found["severity"]["dominant_dim"], found["severity"]["verdict"]) == (88, "mild")
    assert found["location"]["1"]["88"]["largest"] == pytest.approx(613.0, abs=0.1)
    assert found["location"]["1"]["88"]["first_token"] == 1.0


def test_fifty_neutral_prompts_are_shipped() -> None:
    texts = shipped_prompts()
    assert len(set(texts)) == 50
    assert all(30 <= len(text) <= 450 for text in texts)
    assert sum("\n\nInput:\n" in text for text in texts) == 15
