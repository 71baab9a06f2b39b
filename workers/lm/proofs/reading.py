"""`reading_hash`: identifies how a model's texts become ids. Equal hashes mean that results may be compared and reused.

Weights are not part of it. A correction of the reading (the tokenizer's backend, parts, turn ends, masks) changes it.
"""

import hashlib
import json
from collections.abc import Callable

import torch
from torch import Tensor, nn

from workers.lm.errors import ModelFault
from workers.lm.masks import rows_at
from workers.lm.model import LanguageModel
from workers.lm.prompts import PAIR, SYSTEM_PAIR, encode_prompt
from workers.lm.structure.recording import Args, Named
from workers.lm.tokenizing import PROBES, text_ids

COLUMNS = 16


def reading_hash(lm: LanguageModel) -> str:
    """sha256 over the ids of the probe texts and of prompts, the ids that end answers, and each layer's mask."""
    prompts: list[list[int] | str] = []
    for text, system in ((PAIR[0], None), (f" {PAIR[1]}\n", None), (PAIR[0], SYSTEM_PAIR[0])):
        try:
            prompts.append(encode_prompt(lm, text, system))
        except ModelFault as fault:
            prompts.append(fault.code)
    read = {
        "texts": [text_ids(lm.tokenizer, text) for text in PROBES],
        "prompts": prompts,
        "ends": sorted(lm.eos_ids),
        "masks": _masks(lm),
    }
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


def _masks(lm: LanguageModel) -> list[list[tuple[int, str]]]:
    """Describes each layer's mask by the positions, near and far, at which a token does not attend to every earlier column, each with the first
    columns that it attends to. A window's length is found to the token."""
    window = getattr(lm.text_config, "sliding_window", None) or 1
    wanted = {0, 1, COLUMNS - 1, window - 1, window, window + 1, *(2**k for k in range(4, 20))}
    positions = sorted(position for position in wanted if position < lm.context_length)
    seen: list[Tensor | None] = []
    handles = [sites["residual"].register_forward_pre_hook(_keeping(seen), with_kwargs=True) for sites in lm.layout.sites]
    ids = torch.zeros(1, COLUMNS, dtype=torch.long, device=lm.device)
    described: list[list[tuple[int, str]]] = [[] for _ in lm.layout.sites]
    try:
        for start in range(0, len(positions), COLUMNS):
            part = positions[start : start + COLUMNS]
            padded = torch.tensor([part + [0] * (COLUMNS - len(part))], device=lm.device)
            with torch.no_grad(), rows_at(padded):
                lm.layout.decoder(input_ids=ids, use_cache=False)
            for layer, mask in enumerate(seen):
                if mask is None:  # a layer without attention
                    continue
                for position, row in zip(part, mask[0, 0].tolist(), strict=False):
                    attends = "".join("01"[value == 0] for value in row)
                    if attends != "".join("01"[column <= position] for column in range(COLUMNS)):
                        described[layer].append((position, attends))
            seen.clear()
    finally:
        for handle in handles:
            handle.remove()
    return described


def _keeping(seen: list[Tensor | None]) -> Callable[..., None]:
    def hook(_module: nn.Module, args: Args, kwargs: Named) -> None:
        masks = [value for value in (kwargs.get("attention_mask"), *args) if isinstance(value, Tensor) and value.ndim == 4]
        seen.append(masks[0] if masks else None)

    return hook
