"""Greedy decoding of one batch: left-padded prefill, key-value cache, rows that leave when they end.

Shapes: B rows still in the batch, T positions so far, V vocabulary. Knows one batch; splitting work into batches is
`generation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

from workers.lm.choosing import choose, logits_alone
from workers.lm.model import LanguageModel


@dataclass
class _Row:
    """One row's ids, and whether its answer has ended."""

    prompt: list[int]
    answer: list[int] = field(default_factory=list)
    done: bool = False


def decode_batch(
    lm: LanguageModel, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, on_step: Callable[[int], None]
) -> tuple[list[list[int]], int]:
    """Each prompt's greedy answer, without the end-of-sequence token, and how many choices were settled alone.

    `on_step(rows)` is called after each step with the number of rows that got a token; what it raises passes through.
    """
    every_row = rows = [_Row(list(prompt)) for prompt in prompts]
    settled = 0
    with torch.no_grad():
        ids_BT, mask_BT = _left_padded(lm, prompts)
        positions_BT = (mask_BT.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=lm.text_config)
        while True:
            logits_BV = lm.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            ids, near = _choose(lm, rows, logits_BV)
            settled += near
            on_step(_extend(rows, ids, lm.eos_ids, max_new_tokens))
            live = [index for index, row in enumerate(rows) if not row.done]
            if not live:
                return [row.answer for row in every_row], settled
            if 2 * len(live) <= len(rows):  # copying the cache costs about one step: not for every row that ends
                rows, ids = [rows[index] for index in live], [ids[index] for index in live]
                kept = torch.tensor(live, device=lm.device)
                cache.batch_select_indices(kept)
                mask_BT, positions_BT = mask_BT[kept], positions_BT[kept]
            ids_BT = torch.tensor([[token] for token in ids], device=lm.device)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=-1)
            positions_BT = positions_BT[:, -1:] + 1


def _choose(lm: LanguageModel, rows: list[_Row], logits_BV: Tensor) -> tuple[list[int], int]:
    live = [index for index, row in enumerate(rows) if not row.done]
    return choose(
        logits_BV,
        lambda index: logits_alone(lm, rows[index].prompt + rows[index].answer),
        settle=live if lm.dtype == torch.float32 else (),
    )


def _left_padded(lm: LanguageModel, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask, both [B, T]: the prompts end at the same column, so that all rows take their next token there."""
    longest = max(len(prompt) for prompt in prompts)
    ids = [[lm.pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=lm.device), torch.tensor(mask, device=lm.device)


def _extend(rows: list[_Row], ids: Sequence[int], eos_ids: frozenset[int], max_new_tokens: int) -> int:
    """Append each live row's token, or end the row; how many rows were live."""
    live = 0
    for row, token in zip(rows, ids, strict=True):
        if row.done:
            continue
        live += 1
        if token in eos_ids:
            row.done = True
        else:
            row.answer.append(token)
            row.done = len(row.answer) == max_new_tokens
    return live
