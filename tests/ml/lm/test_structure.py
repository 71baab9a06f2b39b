"""The structure of decoder blocks is found by running them, not by names: what each adds to the stream and by what constant. Blocks that do not
add up are refused."""

import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama import modeling_llama

from tests.families.models import tiny_family
from tests.ml.tiny_models import tiny_model
from workers.lm.architecture import find_layout
from workers.lm.errors import ModelFault
from workers.lm.model import LanguageModel
from workers.lm.structure.finding import find_structure
from workers.lm.structure.values import structure_from_dict

SIZES: dict[str, Any] = {
    "vocab_size": 265, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "max_position_embeddings": 256,
}  # fmt: skip
NAMES = {
    "self_attn": "alder", "mlp": "birch", "input_layernorm": "cedar", "post_attention_layernorm": "damson", "q_proj": "elm", "k_proj": "fir",
    "v_proj": "gorse", "o_proj": "hazel", "gate_proj": "ivy", "up_proj": "jasmine", "down_proj": "kauri", "layers": "larches", "norm": "maple",
    "embed_tokens": "nettle",
}  # fmt: skip
CLASSES = {
    name: f"Tree{number}"
    for number, name in enumerate(re.findall(r"^class (\w+)", inspect.getsource(modeling_llama), re.MULTILINE))
}
Edited = Callable[..., torch.nn.Module]


@pytest.fixture
def edited() -> Iterator[Edited]:
    """edited(change, names) -> a Llama built from the library's source after `change(source)`, its modules and classes renamed if `names`."""
    made: list[str] = []

    def make(change: Callable[[str], str] = lambda source: source, *, names: bool = False) -> torch.nn.Module:
        source = (
            change(inspect.getsource(modeling_llama))
            .replace("from ...", "from transformers.")
            .replace("from .conf", "from transformers.models.llama.conf")
        )
        table = {**CLASSES, **NAMES} if names else {}
        for old, new in table.items():
            source = re.sub(rf"(?<![\w.\"]){old}\b|(?<=self\.){old}\b|(?<=model\.){old}\b", new, source)
        if names:
            source += f"\n{CLASSES['LlamaPreTrainedModel']}._input_embed_layer = 'nettle'\n"
        module = types.ModuleType(f"transformers.models.llama.edited_{len(made)}")
        module.__file__ = modeling_llama.__file__
        sys.modules[module.__name__] = module
        made.append(module.__name__)
        exec(compile(source, module.__name__, "exec"), module.__dict__)
        model: torch.nn.Module = getattr(module, table.get("LlamaForCausalLM", "LlamaForCausalLM"))(LlamaConfig(**SIZES))
        return model.eval()

    yield make
    for name in made:
        del sys.modules[name]


def test_a_llama_with_every_name_changed_has_the_same_structure(edited: Edited) -> None:
    plain, renamed = find_layout(tiny_model("llama")), find_layout(edited(names=True))
    [one], [other] = plain.structure.blocks.values(), renamed.structure.blocks.values()
    assert [NAMES[addend.path] for addend in one.addends] == [addend.path for addend in other.addends] == ["alder", "birch"]
    assert [addend.mixes for addend in other.addends] == [True, False]
    assert (other.keys, other.values) == ("alder.fir", "alder.gorse")
    assert renamed.structure.final_norm == "maple"
    assert renamed.structure.engine == plain.structure.engine == "slots"
    assert renamed.components == plain.components


def test_an_addend_that_is_reordered_before_it_is_added_is_refused(edited: Edited) -> None:
    def shuffled(source: str) -> str:
        return source.replace("hidden_states = residual + hidden_states", "hidden_states = residual + hidden_states.flip(-1)")

    with pytest.raises(
        ModelFault, match=r"unknown_architecture: LlamaDecoderLayer adds .* leaves (0\.\d+|1) of the change .*self_attn, mlp"
    ):
        find_layout(edited(shuffled))


def test_constants_are_found_where_the_block_keeps_them(edited: Edited) -> None:
    """The small twin that is run has constants other than the model's, so the structure stores the attribute that has the constant."""

    def scaled(source: str) -> str:
        source = source.replace(
            "        self.mlp = LlamaMLP(config)", "        self.mlp = LlamaMLP(config)\n        self.gain = 1.0"
        )
        return source.replace("hidden_states = self.mlp(hidden_states)", "hidden_states = self.mlp(hidden_states) * self.gain")

    model = edited(scaled)
    assert [addend.scale for addend in next(iter(find_layout(model).structure.blocks.values())).addends] == [(), ("gain",)]
    for number, block in enumerate(model.get_submodule("model.layers").children()):
        block.gain = 0.5 + number  # type: ignore[assignment]
    layout = find_layout(model)
    assert [layout.scale(layer, "mlp_contribution") for layer in range(3)] == [0.5, 1.5, 2.5]
    assert {layout.scale(layer, component) for layer in range(3) for component in ("mlp_out", "attn_contribution")} == {1}


def test_constants_that_grow_with_the_layer_are_each_layers_own(edited: Edited) -> None:
    """Blocks of one form with a different constant each: those of two layers do not give that of the third."""

    def deeper(source: str) -> str:
        source = source.replace(
            "        self.mlp = LlamaMLP(config)", "        self.mlp = LlamaMLP(config)\n        self.depth = layer_idx + 2"
        )
        return source.replace("hidden_states = self.mlp(hidden_states)", "hidden_states = self.mlp(hidden_states) / self.depth")

    model = edited(deeper)
    layout = find_layout(model)
    assert [layout.scale(layer, "mlp_contribution") for layer in range(3)] == pytest.approx([1 / 2, 1 / 3, 1 / 4], abs=1e-9)
    stored = structure_from_dict(json.loads(json.dumps(layout.structure.to_dict())))
    assert find_layout(model, stored).scales == layout.scales
    assert len({terms.kind for terms in layout.terms}) == 3


def test_a_block_that_computes_in_float32_is_read(edited: Edited) -> None:
    """Routers and short convolutions ask for float32, which meets the float64 weights of the twin."""

    def widened(source: str) -> str:
        return source.replace(
            "down_proj = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))",
            "down_proj = nn.functional.linear((self.act_fn(self.gate_proj(x)) * self.up_proj(x)).float(), self.down_proj.weight)",
        )

    [block] = find_layout(edited(widened)).structure.blocks.values()
    assert [addend.path for addend in block.addends] == ["self_attn", "mlp"]
    assert block.residue < 1e-12


def test_a_model_that_does_not_count_its_cached_tokens_is_given_positions() -> None:
    """Without positions it puts each new token at position 0, so its steps differ from one pass over all tokens."""
    assert tiny_family("bamba").layout.structure.engine == "library"


def test_the_raw_output_of_a_post_norm_is_the_module_before_it() -> None:
    layout = find_layout(tiny_model("gemma2"))
    [block] = layout.structure.blocks.values()
    assert [(addend.path, addend.raw) for addend in block.addends] == [
        ("post_attention_layernorm", "self_attn"),
        ("post_feedforward_layernorm", "mlp"),
    ]


@pytest.fixture(scope="module")
def hybrid() -> LanguageModel:
    return tiny_family("qwen3_5_text")


def test_the_layers_of_a_hybrid_have_components_of_their_own(hybrid: LanguageModel) -> None:
    layout = hybrid.layout
    assert layout.layers_with("k_proj") == [3]
    assert layout.layers_with("attn_contribution") == [0, 1, 2, 3]
    assert layout.width("k_proj", 3) == layout.sites[3]["k_proj"].out_features
    with pytest.raises(ModelFault, match=r"Layer 0 \(Qwen3_5DecoderLayer\) has no k_proj. Layers that have it: 3"):
        layout.site(0, "k_proj")
    assert layout.structure.engine == "library"
    assert "other than keys and values" in str(layout.structure.slots_residue)


def test_a_structure_stored_as_json_is_used_without_a_search(hybrid: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = structure_from_dict(json.loads(json.dumps(hybrid.layout.structure.to_dict())))
    assert stored == hybrid.layout.structure
    monkeypatch.setattr("workers.lm.architecture.find_structure", lambda _decoder: pytest.fail("searched again"))
    assert find_layout(hybrid.model, stored).structure == stored


def test_the_structure_of_a_model_of_the_same_shape_in_another_folder_is_not_searched_again(
    hybrid: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = hybrid.layout.decoder
    known = find_structure(decoder)
    monkeypatch.setattr(decoder.config, "_name_or_path", "/another/folder")
    monkeypatch.delattr("workers.lm.structure.finding.structure_of_twin")
    assert find_structure(decoder) is known
