"""Inspects a model folder without putting the model on a device: is it complete, is its architecture known, what are its facts.

Memory stays at one chunk of one tensor: the layout of a meta-device build is checked against the safetensors headers, values are scanned in
slices, hashes are streamed.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig

from workers.lm.architecture import find_layout
from workers.lm.checkpoint import DEAD_BUFFER, open_model, quantization_of, read_config
from workers.lm.errors import ModelFault
from workers.lm.facts import ModelFacts
from workers.lm.folder import (
    Progress,
    check_folder,
    config_hash,
    content_hash,
    files_changed,
    stamps,
    tokenizer_files,
    weight_files,
)
from workers.lm.prompts import PAIR, render_chat
from workers.lm.tokenizing import open_tokenizer

__all__ = ["files_changed", "inspect_folder"]

SLICE_ELEMENTS = 16 << 20
EIGHT_BIT = (torch.float8_e4m3fn, torch.float8_e5m2)
CONTEXT_LENGTHS = ("max_position_embeddings", "max_seq_len")
"""Entries of configs that limit a row; the library gives most models the first name, MPT only the second."""
UNLIMITED = 1 << 20
"""The context length of a model that names none because its state does not grow."""
# Rotary factors that depend on the longest row of a batch: past the original length, a row's text would depend on the rest of the batch.
SWITCHING_ROPE = ("longrope", "dynamic")


def inspect_folder(path: str | Path, progress: Progress | None = None) -> ModelFacts:
    """Returns the facts of the model in `path`; `progress(done_bytes, total_bytes)` is called while its weights are read (twice: scan, hash).

    Raises ModelFault: what `check_folder` raises, unknown_architecture, config_invalid, quantized_weights, not_causal,
    config_weights_mismatch, chat_template_failed, chat_template_drops_text, weights_unreadable, weights_not_finite, weights_changed.
    """
    folder = Path(path)
    check_folder(folder)
    before = stamps(folder)
    config = read_config(folder)
    model = open_model(folder, config, dtype="auto", meta=True)
    layout = find_layout(model)
    tokenizer = open_tokenizer(folder)
    if tokenizer.chat_template:
        render_chat(tokenizer, PAIR[0])  # a template that drops the user's text is refused before any job runs
    weights = weight_files(folder)
    size = sum(file.stat().st_size for file in weights)
    advance = _advancer(progress, 2 * size)
    dtype = _scan(weights, advance)
    quantized = quantization_of(config)
    if quantized:
        dtype = _plain_dtype(quantized, dtype)
    weight_hash = content_hash(weights, advance=advance)
    tokenizer_hash = content_hash(tokenizer_files(folder), within=folder)
    if files_changed(folder, before):
        raise ModelFault(
            "weights_changed",
            f"The files in {folder} changed while they were read. Inspect the model again when they no longer change.",
        )
    return ModelFacts(
        architecture=type(model).__name__,
        layer_class=layout.layer_class,
        layers=layout.n_layers,
        hidden_size=layout.hidden_size,
        context_length=_context_length(config.get_text_config()),
        vocab_size=model.get_input_embeddings().num_embeddings,
        dtype=dtype,
        n_parameters=sum(p.numel() for p in model.parameters()),
        bytes=size,
        has_chat_template=bool(tokenizer.chat_template),
        weight_hash=weight_hash,
        tokenizer_hash=tokenizer_hash,
        files=before,
        config_hash=config_hash(folder),
        widths={component: layout.width(component) for component in layout.components},
        structure=layout.structure.to_dict(),
        dequantised_from=quantized,
    )


def _plain_dtype(quantized: str, stored: str) -> str:
    """The dtype to which the weights of such a file are dequantised. Raises ModelFault config_weights_mismatch if they are plain already."""
    if stored in ("float8_e4m3fn", "float8_e5m2", "uint8"):
        return "bfloat16"
    raise ModelFault(
        "config_weights_mismatch",
        f"config.json says that the weights are quantized ({quantized}), but most of them are {stored}. Take both from the same place.",
    )


def _advancer(progress: Progress | None, total: int) -> Callable[[int], None]:
    done = 0

    def advance(read: int) -> None:
        nonlocal done
        done += read
        if progress is not None:
            progress(min(done, total), total)

    return advance


def _scan(weights: list[Path], advance: Callable[[int], None]) -> str:
    """Checks that every value is finite; returns the dtype of most elements. Raises ModelFault weights_not_finite, weights_unreadable."""
    elements: Counter[str] = Counter()
    for file in weights:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118, the object is not a mapping
                    if DEAD_BUFFER.search(name):
                        continue
                    dtype, count = _scan_tensor(tensors, name, advance)
                    elements[dtype] += count
        except SafetensorError as error:
            raise ModelFault(
                "weights_unreadable", f"{file.name} is not a complete safetensors file: {error}. Copy it again."
            ) from error
    return elements.most_common(1)[0][0]


def _scan_tensor(tensors: Any, name: str, advance: Callable[[int], None]) -> tuple[str, int]:
    tensor_slice = tensors.get_slice(name)
    shape = tensor_slice.get_shape()
    rows = shape[0] if shape else 0
    per_row = 1
    for width in shape[1:]:
        per_row *= width
    step = max(1, SLICE_ELEMENTS // max(1, per_row))
    parts = (
        (tensor_slice[at : at + step] for at in range(0, rows, step)) if shape else (tensors.get_tensor(name) for _ in range(1))
    )
    dtype, count = "", 0
    for stored in parts:
        part = stored.float() if stored.dtype in EIGHT_BIT else stored  # 8-bit floats have no comparison
        if part.is_floating_point() and not torch.isfinite(part).all():
            bad = int((~torch.isfinite(part)).sum())
            raise ModelFault(
                "weights_not_finite",
                f"The weight {name} {tuple(shape)} holds NaN or infinite values ({bad} in the first part that has any). "
                "Copy the file again or ask its author.",
            )
        dtype, count = str(stored.dtype).removeprefix("torch."), count + stored.numel()
        advance(stored.numel() * stored.element_size())
    return dtype, count


def _context_length(config: PretrainedConfig) -> int:
    length = int(next((n for name in CONTEXT_LENGTHS if (n := getattr(config, name, None))), UNLIMITED))
    rope = getattr(config, "rope_parameters", None) or {}
    for parameters in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        if parameters.get("rope_type") in SWITCHING_ROPE:
            original = parameters.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            length = min(length, int(original or length))
    return length
