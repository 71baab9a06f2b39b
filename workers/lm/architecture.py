"""Where a live model keeps its decoder layers, and which modules' outputs are the values science speaks of.

A `Layout` is found from the built model (also from one on the meta device) and never from file names. Only decoder layers
listed in `KNOWN_LAYERS` are accepted: a module that has a familiar name may still mean another thing (Gemma's
`post_attention_layernorm` is a post-norm, Mistral's is a pre-norm; others scale what they add), and then every number would
be silently wrong.

Components (docs/science.md, 3.3), all at layer l = decoder block l, 0-based:
    residual           output of the block, before any final norm
    attn_out, mlp_out  output of the attention's / MLP's last projection
    attn_contribution, mlp_contribution  what is added to the residual stream: after the post-norm where the block has one
    k_proj, v_proj     outputs of the key / value projection, where the architecture has separate ones
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from workers.lm.errors import ModelFault, first_few

COMPONENTS = ("residual", "attn_contribution", "mlp_contribution", "attn_out", "mlp_out", "k_proj", "v_proj")
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")

_SPLIT_QKV = {"k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj"}
_PRE_NORM = {
    "attn_out": "self_attn.o_proj",
    "mlp_out": "mlp.down_proj",
    "attn_contribution": "self_attn.o_proj",
    "mlp_contribution": "mlp.down_proj",
}
_POST_NORM = _PRE_NORM | {"attn_contribution": "post_attention_layernorm", "mlp_contribution": "post_feedforward_layernorm"}
_GPT2 = {"attn_out": "attn.c_proj", "mlp_out": "mlp.c_proj", "attn_contribution": "attn.c_proj", "mlp_contribution": "mlp.c_proj"}
_NEOX = {
    "attn_out": "attention.dense",
    "mlp_out": "mlp.dense_4h_to_h",
    "attn_contribution": "attention.dense",
    "mlp_contribution": "mlp.dense_4h_to_h",
}

# Decoder layer class -> component -> the submodule of the layer whose output it is. Dropouts that follow are the identity (eval).
KNOWN_LAYERS: Mapping[str, Mapping[str, str]] = {
    "LlamaDecoderLayer": _PRE_NORM | _SPLIT_QKV,
    "MistralDecoderLayer": _PRE_NORM | _SPLIT_QKV,
    "Qwen2DecoderLayer": _PRE_NORM | _SPLIT_QKV,
    "Qwen3DecoderLayer": _PRE_NORM | _SPLIT_QKV,
    "Phi3DecoderLayer": _PRE_NORM,
    "Gemma2DecoderLayer": _POST_NORM | _SPLIT_QKV,
    "Gemma3DecoderLayer": _POST_NORM | _SPLIT_QKV,
    "Olmo2DecoderLayer": _POST_NORM | _SPLIT_QKV,
    "GPT2Block": _GPT2,
    "GPTNeoXLayer": _NEOX,
}


@dataclass(frozen=True)
class Layout:
    """The parts of one model that capture and intervention attach to.

    `decoder` maps token ids to final hidden states without the LM head. `sites[l][component]` is the module whose output is
    that component at layer l; its width is `hidden_size` but for k_proj and v_proj.
    """

    decoder: nn.Module
    final_norm: nn.Module
    sites: tuple[Mapping[str, nn.Module], ...]
    layer_class: str
    hidden_size: int

    @property
    def n_layers(self) -> int:
        return len(self.sites)

    @property
    def components(self) -> tuple[str, ...]:
        """The components this architecture has, in the order of COMPONENTS."""
        return tuple(name for name in COMPONENTS if name in self.sites[0])

    def width(self, component: str) -> int:
        """Numbers in a token's vector of `component`, the same at every layer."""
        module = self.sites[0][component]
        return int(module.out_features) if component in ("k_proj", "v_proj") else self.hidden_size  # type: ignore[arg-type]

    def site(self, layer: int, component: str) -> nn.Module:
        """The module whose output is `component` at `layer`. Raises ModelFault layer_out_of_range, unknown_component."""
        if not 0 <= layer < self.n_layers:
            raise ModelFault("layer_out_of_range", f"Layer {layer} does not exist: the layers are 0 to {self.n_layers - 1}.")
        if component not in self.sites[layer]:
            have = ", ".join(self.components)
            raise ModelFault("unknown_component", f"{self.layer_class} has no component {component!r}. It has: {have}.")
        return self.sites[layer][component]


def find_layout(model: nn.Module) -> Layout:
    """The layout of `model`, which may be on the meta device. Raises ModelFault unknown_architecture, naming the modules
    found."""
    decoder = _decoder_of(model)
    config = decoder.config.get_text_config()  # type: ignore[union-attr,operator]
    layers = _layers_of(model, decoder, config.num_hidden_layers)
    layer_class = type(layers[0]).__name__
    paths = KNOWN_LAYERS.get(layer_class)
    if paths is None or not type(layers[0]).__module__.startswith("transformers.models."):
        known = ", ".join(sorted(KNOWN_LAYERS))
        found = first_few((name for name, _ in layers[0].named_modules() if name), limit=12)
        raise ModelFault(
            "unknown_architecture",
            f"{type(model).__name__} uses {layer_class}, which this version does not know (found in its first layer: "
            f"{found}). What attention and MLP add to the stream is known only for: {known}.",
        )
    sites = tuple(
        {"residual": layer} | {component: layer.get_submodule(path) for component, path in paths.items()} for layer in layers
    )
    return Layout(decoder, _final_norm_of(model, decoder), sites, layer_class, config.hidden_size)


def _decoder_of(model: nn.Module) -> nn.Module:
    """The text decoder, also inside a multimodal wrapper, by the library's own accessor."""
    accessor = getattr(model, "get_decoder", None)
    decoder = accessor() if callable(accessor) else None
    if not isinstance(decoder, nn.Module) or decoder is model or not hasattr(decoder, "config"):
        raise _not_a_decoder(model, "it has no text decoder")
    return decoder


def _layers_of(model: nn.Module, decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The one ModuleList directly under the decoder that has as many entries as the config has layers."""
    lists = [child for child in decoder.children() if isinstance(child, nn.ModuleList) and len(child) == n_layers > 0]
    if len(lists) != 1:
        raise _not_a_decoder(model, f"its decoder has {len(lists)} lists of {n_layers} layers, where one was expected")
    return lists[0]


def _final_norm_of(model: nn.Module, decoder: nn.Module) -> nn.Module:
    for name in FINAL_NORMS:
        norm = getattr(decoder, name, None)
        if isinstance(norm, nn.Module):
            return norm
    raise _not_a_decoder(model, f"its decoder has no final norm (looked for {', '.join(FINAL_NORMS)})")


def _not_a_decoder(model: nn.Module, why: str) -> ModelFault:
    found = first_few((f"{name} ({type(child).__name__})" for name, child in model.named_children()), limit=12)
    return ModelFault(
        "unknown_architecture",
        f"{type(model).__name__} cannot be read: {why}. Modules found at its top: {found or 'none'}. "
        f"Known decoder layers: {', '.join(sorted(KNOWN_LAYERS))}.",
    )
