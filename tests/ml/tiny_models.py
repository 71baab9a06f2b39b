"""Tiny random models of every known architecture, saved as real model folders, with a tokenizer built in code.

The weights are large for their size, so that greedy text varies and depends on all of the prompt; several end-of-sequence ids make
answers end at different lengths. `Planted` puts a massive dimension where a test wants it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.pytorch_utils import Conv1D

from workers.lm.architecture import find_layout
from workers.lm.checkpoint import quiet

SPECIAL = ("<pad>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>")
PAD, BOS, EOS = 0, 1, 2
VOCAB = len(SPECIAL) + 256
LAYERS, HIDDEN, CONTEXT = 4, 64, 256
EOS_IDS = (EOS, SPECIAL.index("<|end|>"), 40, 77, 131, 200)

CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is false %}<think></think>{% endif %}{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHAT
DROPS_SYSTEM = CHAT.replace("in messages %}", "in messages if m.role != 'system' %}")
DATED = "{{ bos_token }}<|system|>Today is {{ strftime_now('%d %b %Y') }}<|end|>" + CHAT.removeprefix("{{ bos_token }}")
TEMPLATES = {"chat": CHAT, "no_system": NO_SYSTEM, "drops_system": DROPS_SYSTEM, "dated": DATED}

_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
_SLIDING = {"sliding_window": 12, "layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2)}
_GEMMA = _COMMON | _SLIDING | {"query_pre_attn_scalar": 16}
_NEOX = _COMMON | {"initializer_range": 0.3}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,  # as many as the text model, so that the two lists cannot be told apart by their length
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_GPT2 = {
    "vocab_size": VOCAB,
    "n_embd": HIDDEN,
    "n_layer": LAYERS,
    "n_head": 4,
    "n_positions": CONTEXT,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}


def _gemma3_wrapper() -> Any:
    text = transformers.Gemma3TextConfig(**_GEMMA)
    return transformers.Gemma3Config(
        text_config=text,
        vision_config=transformers.SiglipVisionConfig(**_VISION),
        mm_tokens_per_image=4,
        image_token_index=VOCAB - 1,
        boi_token_index=VOCAB - 2,
        eoi_token_index=VOCAB - 3,
        tie_word_embeddings=False,
    )


ARCHITECTURES: Mapping[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_COMMON),
    "mistral": lambda: transformers.MistralConfig(**_COMMON, sliding_window=12),
    "qwen2": lambda: transformers.Qwen2Config(**_COMMON),
    "qwen3": lambda: transformers.Qwen3Config(**_COMMON),
    "gemma2": lambda: transformers.Gemma2Config(**_GEMMA),
    "gemma3": lambda: transformers.Gemma3TextConfig(**_GEMMA),
    "gemma3_multimodal": _gemma3_wrapper,
    "olmo2": lambda: transformers.Olmo2Config(**_COMMON),
    "phi3": lambda: transformers.Phi3Config(**_COMMON),
    "gpt2": lambda: transformers.GPT2Config(**_GPT2),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_NEOX, use_parallel_residual=True),
    "gpt_neox_sequential": lambda: transformers.GPTNeoXConfig(**_NEOX, use_parallel_residual=False),
}


@dataclass(frozen=True)
class Planted:
    """A massive dimension: `dim` holds about `value` in the residual stream of every layer at the tokens `where` says, elsewhere 0.

    `where`: "every_token", "first_token" (only begin-of-sequence tokens), "delimiters" (only tokens of punctuation). Nothing else writes
    to the dim. `spread` makes the value differ between tokens: uniformly in value x (1 +- spread), by token id.
    """

    dim: int
    value: float
    where: str = "every_token"
    spread: float = 0.0


def tiny_model_folder(
    base: Path, arch: str, *, seed: int = 0, planted: tuple[Planted, ...] = (), tokenizer: str = "plain", **config: Any
) -> Path:
    """The folder of a tiny model below `base`, made on first use. `config` entries replace those of the architecture's config."""
    key = "-".join([arch, tokenizer, str(seed), *(f"{p.dim}@{p.value}@{p.where}@{p.spread}" for p in planted)])
    key += "".join(f"-{name}@{value}" for name, value in sorted(config.items()))
    folder = base / key.replace("/", "_")
    if not (folder / "config.json").exists():
        model = tiny_model(arch, seed=seed, planted=planted, **config)
        with quiet():
            model.save_pretrained(folder)
            tiny_tokenizer(tokenizer).save_pretrained(folder)
    return folder


def tiny_model(arch: str, *, seed: int = 0, planted: tuple[Planted, ...] = (), **config: Any) -> PreTrainedModel:
    """The model itself, float32 on the CPU."""
    torch.manual_seed(seed)
    made = ARCHITECTURES[arch]()
    for name, value in config.items():
        setattr(made, name, value)
    model = transformers.AutoModelForCausalLM.from_config(made)
    model.generation_config.eos_token_id = list(EOS_IDS)
    _vary_norms(model)
    for plant in planted:
        _plant(model, plant)
    return model.eval()


def _vary_norms(model: PreTrainedModel) -> None:
    """Moves norm weights and biases off their initial 1 and 0, so that no test passes because a norm does nothing."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))


def _plant(model: PreTrainedModel, plant: Planted) -> None:
    layout = find_layout(model)
    table = model.get_input_embeddings().weight
    ids = {"every_token": list(range(VOCAB)), "first_token": [BOS], "delimiters": delimiter_ids()}[plant.where]
    values = plant.value * (1 + plant.spread * (2 * torch.rand(len(ids)) - 1))
    with torch.no_grad():
        table[:, plant.dim] = 0
        table[ids, plant.dim] = values / getattr(model.get_input_embeddings(), "embed_scale", torch.tensor(1.0))
        for sites in layout.sites:
            for component in ("attn_contribution", "mlp_contribution"):
                _silence(sites[component], plant.dim)
        positions = getattr(layout.decoder, "wpe", None)
        if positions is not None:
            positions.weight[:, plant.dim] = 0


def _silence(module: torch.nn.Module, dim: int) -> None:
    """Make output `dim` of a norm, a projection, or a module's last projection zero."""
    projections = [part for part in module.modules() if isinstance(part, (torch.nn.Linear, Conv1D))]
    module = projections[-1] if projections else module
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    if weight.ndim == 1:  # a norm; Gemma's multiplies by 1 + weight
        weight[dim] = -1.0 if type(module).__name__.startswith("Gemma") else 0.0
    elif isinstance(module, torch.nn.Linear):
        weight[dim] = 0
    else:  # GPT-2's Conv1D holds its matrix as [in, out]
        weight[:, dim] = 0
    bias = getattr(module, "bias", None)
    if bias is not None:
        bias[dim] = 0


def delimiter_ids() -> list[int]:
    """The ids of the tokens that are punctuation or space only."""
    tokenizer = tiny_tokenizer("plain")
    texts = [(i, tokenizer.decode([i])) for i in range(len(SPECIAL), VOCAB)]
    newline: list[int] = tokenizer.encode("\n", add_special_tokens=False)
    return [i for i, text in texts if text.isascii() and text.isprintable() and not text.isalnum()] + newline


def tiny_tokenizer(kind: str = "plain", *, vocabulary: int = VOCAB) -> PreTrainedTokenizerFast:
    """One token per byte. Kinds: plain (adds BOS), no_bos (adds nothing), bos_eos (adds both), or a name in TEMPLATES.

    Tokens beyond VOCAB are words that no text is encoded to; a large model may still answer with them.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = (f"\u0120word{index}" for index in range(VOCAB, vocabulary))
    tokens = {token: index for index, token in enumerate((*SPECIAL, *alphabet, *words))}
    made = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    added = {"no_bos": "$A", "bos_eos": "<s> $A </s>"}.get(kind, "<s> $A")
    made.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=added, special_tokens=[("<s>", BOS), ("</s>", EOS)]),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
        **({} if kind == "no_bos" else {"bos_token": "<s>"}),
    )
    if kind in TEMPLATES:
        tokenizer.chat_template = TEMPLATES[kind]
    return tokenizer
